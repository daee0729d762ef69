"""What figures read from a table of simultaneous bands, and whether it belongs to a profile."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from modeconn.errors import EvaluationError, RunError, listed

from . import columns
from .profile_table import Metric

Above = Literal["nothing", "chord", "mean"]
FIGURE = "a band"

_NAMES = ("path", "space", "task", "metric", "above")
_CLOSE = 1e-6  # of the largest value; a table that went through a CSV file keeps more digits


def checked_bands(frame: pd.DataFrame) -> pd.DataFrame:
    """A copy of the table with names as text and numbers as float64, once it can be drawn.

    Args:
        frame: Columns path, space, task, metric, above, t, value, low, high, as `Profile.bands()` gives them.

    Raises:
        EvaluationError: Columns, rows, names or numbers are missing, or rows say a thing twice.
    """
    numeric = ("t", "value", "low", "high")
    columns.require_columns(frame, [*_NAMES, *numeric], figure=FIGURE)
    columns.require_names(frame, _NAMES, figure=FIGURE)
    keys = ("path", "task", "t")
    columns.require_range(frame, "t", figure=FIGURE, keys=keys, low=0, high=1)
    for column in numeric[1:]:
        columns.require_range(frame, column, figure=FIGURE, keys=keys, low=-np.inf, high=np.inf)
    texts = {column: frame[column].astype(str) for column in _NAMES}
    rows = frame.assign(**texts, **{column: columns.numbers(frame, column) for column in numeric})
    columns.require_single(rows, [*_NAMES, "t"], figure=FIGURE)
    return rows.sort_values("t", kind="stable")


def over_profile(bands: pd.DataFrame | None, rows: pd.DataFrame, *, metric: Metric) -> pd.DataFrame | None:
    """The bands of a profile's rows, in the direction of its metric: a band of the error is turned round for a score.

    Args:
        bands: A table of bands, or None.
        rows: Checked rows of a profile, of one path and space.
        metric: What is drawn, "loss" or "score".

    Returns:
        Columns path, task, t, value, low, high; None where `bands` is None.

    Raises:
        EvaluationError: The table cannot be drawn, or its values are not those of the profile.
        RunError: It holds no band of this path, space and metric.
    """
    if bands is None:
        return None
    table = checked_bands(bands)
    path, space = rows[["path", "space"]].iloc[0]
    wanted = {"path": path, "space": space, "metric": metric, "above": "nothing"}
    fits = np.logical_and.reduce([(table[column] == value).to_numpy() for column, value in wanted.items()])
    own = columns.rows_where(table, fits)
    if own.empty:
        raise RunError(
            f"cannot draw {FIGURE} over this profile",
            expected=", ".join(f"{column} = {value}" for column, value in wanted.items()),
            got=_kinds(table),
            remedy="pass bands=profile.bands(metric) of the profile that is drawn",
        )
    if metric == "score":
        own = own.assign(value=1 - own["value"], low=1 - own["high"], high=1 - own["low"])
    _check_same(own, rows, metric)
    return own


def band_label(bands: pd.DataFrame) -> str:
    """The legend's words for a band; with its confidence where the table has one."""
    if "confidence" not in bands:
        return "simultaneous band"
    return f"{100 * float(columns.numbers(bands, 'confidence')[0]):g} % simultaneous band"


def _kinds(table: pd.DataFrame) -> str:
    """The different bands of a table, in words."""
    kinds: Sequence[Sequence[str]] = table[["path", "space", "metric", "above"]].drop_duplicates().to_numpy().tolist()
    return listed(f"{path} ({space}, {metric}, above {above})" for path, space, metric, above in kinds)


def _check_same(bands: pd.DataFrame, rows: pd.DataFrame, metric: Metric) -> None:
    """Raise unless the bands lie around the profile's values: those of another split or run would mislead."""
    both = bands.merge(rows[["task", "t", metric]], on=["task", "t"], suffixes=("_band", ""))
    known, drawn = both["value"].to_numpy(), both[metric].to_numpy()
    apart = np.abs(known - drawn) > _CLOSE * max(1.0, float(np.abs(rows[metric].to_numpy()).max()))
    if len(both) == len(bands) and not apart.any():
        return
    first = f"{known[apart][0]:g} against {drawn[apart][0]:g}" if apart.any() else "positions or tasks it has not"
    raise EvaluationError(
        "these bands are not those of the profile",
        expected=f"the profile's {metric} as the middle of its band",
        got=f"{int(apart.sum())} of {len(bands)} values apart, and {len(bands) - len(both)} unknown ({first})",
        remedy="pass the bands of the same run, split and tasks",
    )
