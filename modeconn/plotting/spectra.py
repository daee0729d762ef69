"""Singular spectra of updates: how fast they fall, point beside point."""

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from . import columns, single_panel, style
from .chosen_names import chosen_names

_FIGURE = "singular spectra"
_AXES_HEIGHT = 1.75  # inches
_MANY = 40  # directions: from here on, their numbers are on a logarithmic axis
_DECADES = 300  # from so wide an axis on only powers of ten have labels
_MIDDLE = (10, 50, 90)  # percentiles over the matrices


def plot_spectra(
    frame: pd.DataFrame,
    *,
    points: Sequence[str] | None = None,
    width: float = style.COLUMN_WIDTH,
    ax: Axes | None = None,
) -> Axes:
    """The singular values of the updates by their number, largest first, one line a point.

    The line is the median over all matrices of a point that have so many directions, the band holds the middle 80 %.

    Args:
        frame: Columns point, parameter, index (from 1) and value (a norm, above 0).
        points: Which points, all by default.
        width: Inches, for a new figure: `COLUMN_WIDTH` or `PAGE_WIDTH`.
        ax: Where to draw, in the fonts that hold there; by default on a new figure in the project's style.

    Returns:
        The axes drawn on.

    Raises:
        EvaluationError: The table lacks columns, rows or numbers, or says a thing twice.
        RunError: A point that is not in the table.
    """
    rows = _checked(frame)
    chosen = chosen_names(rows, "point", points, figure=_FIGURE)
    looks = {name: look for name, look in style.looks(rows["point"].drop_duplicates()).items() if name in chosen}
    if ax is not None:
        with matplotlib.rc_context({"text.parse_math": False}):
            handles = _draw(ax, rows, looks)
            ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0)
        return ax
    return single_panel.on_new_figure(lambda new: _draw(new, rows, looks), width=width, height=_AXES_HEIGHT)


def _checked(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with names as text and numbers as float64."""
    keys = ("point", "parameter", "index")
    columns.require_columns(frame, [*keys, "value"], figure=_FIGURE)
    columns.require_names(frame, ["point", "parameter"], figure=_FIGURE)
    columns.require_range(frame, "index", figure=_FIGURE, keys=keys[:2], low=1, high=np.inf)
    columns.require_range(frame, "value", figure=_FIGURE, keys=keys, low=np.finfo(float).tiny, high=np.inf)
    columns.require_single(frame, keys, figure=_FIGURE)
    numbers = {name: columns.numbers(frame, name) for name in ("index", "value")}
    return frame.assign(point=frame["point"].astype(str), parameter=frame["parameter"].astype(str), **numbers)


def _draw(ax: Axes, rows: pd.DataFrame, looks: dict[str, style.Look]) -> Sequence[Artist]:
    """Lines, bands and labels; returns the legend's handles."""
    handles: list[Artist] = []
    spread = False
    for name, look in looks.items():
        own = columns.rows_where(rows, (rows["point"] == name).to_numpy())
        index, low, middle, high = _percentiles(own)
        spread |= bool((high > low).any())
        ax.fill_between(index, low, high, color=look.colour, alpha=0.18, linewidth=0, zorder=1)
        edge = {"marker": look.marker, "markersize": 3.6, "markeredgecolor": "white", "markeredgewidth": 0.4}
        every = max(1, len(index) // 10)
        handles += ax.plot(index, middle, color=look.colour, markevery=every, zorder=2, label=name, **edge)
    ax.set_yscale("log")
    _label_decades(ax.yaxis)
    if rows["index"].to_numpy().max() > _MANY:
        ax.set_xscale("log")
        _label_decades(ax.xaxis)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    ax.set_xlabel("number of the direction")
    ax.set_ylabel("singular value")
    if spread:
        handles.append(Patch(facecolor=style.GREY, alpha=0.3, linewidth=0, label="middle 80 % of the matrices"))
    return handles


def _label_decades(axis: Axis) -> None:
    """Ticks of a logarithmic axis as plain numbers: formulas are switched off, as names are text."""
    low, high = axis.get_view_interval()
    steps = (1.0,) if high / low > _DECADES else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _percentiles(own: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Directions of one point, and percentiles of their values over its matrices, `[r]` each."""
    index, values = own["index"].to_numpy(), own["value"].to_numpy()
    found = np.unique(index)
    low, middle, high = (np.array([np.percentile(values[index == one], p) for one in found]) for p in _MIDDLE)
    return found, low, middle, high
