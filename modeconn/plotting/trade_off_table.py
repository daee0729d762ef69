"""What a trade-off's figure reads from a profile: two scores at every position, the front, the best mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from modeconn.errors import EvaluationError, RunError, listed

from . import columns, profile_table
from .profile_table import Metric

FIGURE = "a trade-off"
Tasks = str | Sequence[str]


@dataclass(frozen=True)
class Curve:
    """One path in the plane of the old and the new tasks' metric.

    Attributes:
        label: The path in words.
        path: The path as the table names it.
        t: Positions, `[T]`, increasing.
        places: Old and new, `[T, 2]`.
        low: Lower ends of the intervals, `[T, 2]`, NaN where none is known.
        high: Upper ends.
    """

    label: str
    path: str
    t: np.ndarray
    places: np.ndarray
    low: np.ndarray
    high: np.ndarray


def sides(rows: pd.DataFrame, old: Tasks | None, new: Tasks | None) -> tuple[list[str], list[str]]:
    """The old and the new tasks: those named; of a table with two tasks the first and the second.

    Raises:
        RunError: Other than two tasks and none named, one on both sides, or one that is not in the table.
    """
    present = profile_table.names(rows, "task")
    if old is None and new is None and len(present) == 2:
        return [present[0]], [present[1]]
    found = [[side] if isinstance(side, str) else list(side or []) for side in (old, new)]
    flat = [task for side in found for task in side]
    if not all(found) or len(set(flat)) < len(flat) or set(flat) - set(present):
        raise RunError(
            f"cannot draw {FIGURE} between these tasks",
            expected=f"old= and new=, each a task or several out of {listed(present)}, none on both sides",
            got=f"old={old!r}, new={new!r}",
            remedy="name the task or tasks trained before as old=, the one trained last as new=",
        )
    return found[0], found[1]


def curves(rows: pd.DataFrame, old: Sequence[str], new: Sequence[str], *, metric: Metric) -> list[Curve]:
    """Every path at the positions that all the tasks share; means over the tasks of a side.

    Args:
        rows: Checked rows of a profile.
        old: Tasks on the horizontal axis.
        new: Tasks on the vertical axis.
        metric: "loss" or "score".

    Raises:
        EvaluationError: A path has not the tasks at one position.
    """
    found = []
    for path, space in rows[["path", "space"]].drop_duplicates().itertuples(index=False, name=None):
        own = columns.rows_where(rows, ((rows["path"] == path) & (rows["space"] == space)).to_numpy())
        name = f"{profile_table.headline(path)} ({space})"
        lacking = {*old, *new} - set(own["task"])
        values = None if lacking else _sides(own, old, new, metric).dropna()
        if values is None or values.empty:
            raise EvaluationError(
                f"cannot draw {FIGURE} along {path}",
                expected=f"{listed([*old, *new])} measured at the same positions",
                got=f"no row of {listed(lacking)}" if lacking else "no position that they share",
                remedy="evaluate the tasks together, or select the paths that have them",
            )
        low, high = (
            _sides(own, old, new, f"{metric}_{side}").reindex(values.index).to_numpy() for side in ("low", "high")
        )
        found.append(Curve(name, path, values.index.to_numpy(dtype=float), values.to_numpy(), low, high))
    return found


def _sides(own: pd.DataFrame, old: Sequence[str], new: Sequence[str], column: str) -> pd.DataFrame:
    """A column's mean over the tasks of both sides by t, `[T, 2]`; an interval only where a side is one task."""
    if column not in own:
        own = own.assign(**{column: np.nan})
    table = own.pivot(index="t", columns="task", values=column)
    found = {}
    for number, side in enumerate((old, new)):
        values = table[list(side)].mean(axis="columns", skipna=False)
        # The mean of intervals is not the interval of the mean.
        found[number] = values * np.nan if len(side) > 1 and column.endswith(("_low", "_high")) else values
    return pd.DataFrame(found)


def side_label(rows: pd.DataFrame, side: Sequence[str], *, metric: Metric) -> str:
    """An axis's words: the tasks of a side, and what is measured."""
    own = columns.rows_where(rows, rows["task"].isin(side).to_numpy())
    what = profile_table.value_label(own, metric=metric).removeprefix("mean ")
    if len(side) == 1:
        return f"{side[0]}: {what}"
    return f"mean of {' and '.join(side) if len(side) == 2 else f'{len(side)} tasks'}: {what}"


def front(places: np.ndarray, *, metric: Metric) -> np.ndarray:
    """The places that no other beats on one side without losing on the other, from left to right.

    Args:
        places: Old and new, `[N, 2]`.
        metric: "loss" (less is better) or "score".

    Returns:
        `[F, 2]`; equal places once.
    """
    better = places if metric == "score" else -places
    ordered = np.unique(better, axis=0)[::-1]  # best old first, of equals best new first
    highest = np.maximum.accumulate(np.concatenate([[-np.inf], ordered[:-1, 1]]))
    kept = ordered[ordered[:, 1] > highest]
    kept = kept if metric == "score" else -kept
    return kept[np.argsort(kept[:, 0])]


def best(found: Sequence[Curve], *, metric: Metric) -> tuple[Curve, int]:
    """The curve and the place with the best mean of old and new; of equals the first."""
    sign = 1.0 if metric == "score" else -1.0
    tops = [float((sign * curve.places).mean(axis=1).max()) for curve in found]
    curve = found[int(np.argmax(tops))]
    return curve, int((sign * curve.places).mean(axis=1).argmax())


def chosen_places(found: Sequence[Curve], chosen: float | Mapping[str, float] | None) -> list[tuple[Curve, int]]:
    """The curves with a chosen position, and where it stands on them.

    Args:
        found: The curves.
        chosen: One t for all of them, or one for each path that is named.

    Raises:
        RunError: A path or a position that is not drawn.
    """
    if chosen is None:
        return []
    wanted = chosen if isinstance(chosen, Mapping) else {curve.path: chosen for curve in found}
    unknown = set(wanted) - {curve.path for curve in found}
    places = [(curve, int(np.abs(curve.t - wanted[curve.path]).argmin())) for curve in found if curve.path in wanted]
    off = [curve for curve, i in places if abs(curve.t[i] - wanted[curve.path]) > 1e-9]
    if unknown or off:
        known = [f"{curve.path} at {', '.join(f'{t:g}' for t in curve.t)}" for curve in (off or found)]
        raise RunError(
            "cannot mark the chosen position",
            expected=f"a position that was measured: {listed(known)}",
            got=repr(chosen),
            remedy="evaluate the path at this t too, or pass chosen= with one that the table has",
        )
    return places
