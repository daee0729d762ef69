"""What the figures of CKA read: tables checked, layers in order with short names."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import to_hex

from modeconn.errors import EvaluationError

from . import columns, task_panels

NAMES = ("point", "reference", "task", "split", "pooling", "layer", "layer_reference")
LABEL = "CKA (debiased)"
HEAT = "viridis"  # of likeness: even in lightness, so that it prints in grey
DIFFERENCE = "vlag"
_NUMBERED = re.compile(r"^(?P<stem>.+?)\.(?P<number>\d+)(?P<rest>\..+)?$")


def checked_cka(frame: pd.DataFrame, *, figure: str, keys: Sequence[str]) -> pd.DataFrame:
    """The rows of one split and pooling, names as text and numbers as float64; CKA may be missing, but not everywhere.

    Args:
        frame: The table.
        figure: What is drawn, for messages.
        keys: Columns of which each combination stands in one row.

    Raises:
        EvaluationError: The table lacks columns, rows or numbers, or says a thing twice.
        RunError: It holds several splits or poolings.
    """
    columns.require_columns(frame, list(dict.fromkeys([*NAMES, *keys, "cka", "num_examples"])), figure=figure)
    columns.require_names(frame, NAMES, figure=figure)
    columns.require_range(frame, "num_examples", figure=figure, keys=("task", "layer"), low=1, high=np.inf)
    for column in ("split", "pooling"):
        columns.pick(frame, column, None, figure=figure, remedy=f"pass the rows of one {column}")
    known = frame.loc[frame["cka"].notna().to_numpy()]
    if known.empty:
        raise EvaluationError(
            f"cannot draw {figure}: no value is known",
            expected="a cka in some row",
            got=f"{len(frame)} rows without one",
            remedy="compare layers whose features vary: another pooling, or more examples",
        )
    columns.require_range(known, "cka", figure=figure, keys=("task", "layer", "layer_reference"), low=-1.01, high=1.01)
    texts = {column: frame[column].astype(str) for column in NAMES}
    rows = frame.assign(**texts, cka=columns.numbers(frame, "cka"))
    columns.require_single(rows, keys, figure=figure)
    return rows


def layers_of(rows: pd.DataFrame, column: str = "layer") -> list[str]:
    """The layers in the order of the table."""
    return rows[column].drop_duplicates().tolist()


def short_names(layers: Sequence[str]) -> list[str]:
    """Layers without what all their names begin with; what enters the first one is "emb.".

    Example:
        >>> short_names(["embedding", "layers.0", "layers.1"])
        ['emb.', '0', '1']
        >>> short_names(["encoder.block.0", "decoder.block.0"])
        ['encoder.block.0', 'decoder.block.0']
    """
    found = [_NUMBERED.match(name) for name in layers]
    stems = {one["stem"] for one in found if one}
    if len(stems) != 1:
        return list(layers)
    rest = ["emb." if name == "embedding" else name for name in layers]
    return [one["number"] + (one["rest"] or "") if one else name for one, name in zip(found, rest, strict=True)]


def conditions(rows: pd.DataFrame) -> str:
    """What the numbers hold for."""
    first = rows.iloc[0]
    return f"{first['split']} split, {first['pooling']} pooling, {task_panels.examples(rows)}"


def scale_of(values: np.ndarray) -> tuple[float, float]:
    """The ends of a colour scale that all panels share: from 0, or the lowest value below it, to 1."""
    return min(0.0, float(np.nanmin(values))), 1.0


def depth_colours(count: int) -> list[str]:
    """A colour for each of `count` layers, from the first to the last; none is too bright for a line."""
    return [to_hex(colour) for colour in colormaps["viridis"](np.linspace(0, 0.85, count))]
