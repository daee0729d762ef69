"""What the updates of many points share, all pairs at once, as heat maps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from modeconn.errors import EvaluationError, listed

from . import cell_numbers, columns, lettering, style, task_panels

_FIGURE = "an interference matrix"
_MISSING = "#e6e6e6"
_CELL, _LEAST, _BAR = 0.34, 0.9, 0.75  # inches: a cell, a panel at least, a colour bar
_LABEL, _LONG_LABEL, _TITLE = 1.1, 1.6, 0.42  # inches: a line of a name, where names are many, a title with its space
_FEW = 8  # points whose cells are written on, and whose columns have names
_LEAST_SCALE = 0.2  # smaller numbers stay pale: between random updates they are noise
_NUMBERS = 15  # of columns that have room


@dataclass(frozen=True)
class _Measure:
    """One panel.

    Attributes:
        title: What it shows.
        columns: The columns of the table for (first, second) and (second, first).
        signed: Whether the numbers lie on both sides of 0.
    """

    title: str
    columns: tuple[str, str]
    signed: bool = False


_MEASURES = {
    "cosine": _Measure("cosine", ("cosine", "cosine"), signed=True),
    "sign_agreement": _Measure("entries of one sign", ("sign_agreement", "sign_agreement")),
    "column_overlap": _Measure("overlap of outputs", ("column_overlap", "column_overlap")),
    "row_overlap": _Measure("overlap of inputs", ("row_overlap", "row_overlap")),
    "columns_held": _Measure("share on outputs of", ("first_in_second_columns", "second_in_first_columns")),
    "rows_held": _Measure("share on inputs of", ("first_in_second_rows", "second_in_first_rows")),
}


def plot_interference(
    frame: pd.DataFrame,
    *,
    values: Sequence[str] = ("cosine", "column_overlap", "row_overlap"),
    width: float = style.PAGE_WIDTH,
) -> Figure:
    """One heat map a measure, points in the order of the table.

    Overlaps and shares have one scale from 0 in all panels, cosines one that is even on both sides of 0; no scale ends
    below 0.2. Of the shares,
    `columns_held` and `rows_held`, a cell is what of the row's update acts on the outputs or inputs of the column's.

    Args:
        frame: Columns first, second and those of the measures; one row for each pair of points.
        values: Which measures: "cosine", "sign_agreement", "column_overlap", "row_overlap", "columns_held",
            "rows_held".
        width: Inches: `COLUMN_WIDTH` or `PAGE_WIDTH`.

    Returns:
        The figure; pyplot does not know it.

    Raises:
        EvaluationError: The table lacks columns, rows or numbers, or says a thing twice.
        RunError: A measure that is unknown.
    """
    for value in values:
        columns.require_choice("values", value, list(_MEASURES))
    wanted = [_MEASURES[value] for value in values]
    rows = _checked(frame, wanted)
    matrices = [_matrix(rows, measure) for measure in wanted]
    with style.paper_style():
        return _draw(wanted, matrices, width=width)


def _checked(frame: pd.DataFrame, wanted: Sequence[_Measure]) -> pd.DataFrame:
    """The rows with names as text; measures that are missing stay so."""
    named = sorted({column for measure in wanted for column in measure.columns})
    columns.require_columns(frame, ["first", "second", *named], figure=_FIGURE)
    columns.require_names(frame, ["first", "second"], figure=_FIGURE)
    for column in named:
        there = columns.rows_where(frame, frame[column].notna().to_numpy())
        low = -1.0 if column == "cosine" else 0.0
        columns.require_range(there, column, figure=_FIGURE, keys=("first", "second"), low=low - 1e-6, high=1 + 1e-6)
    rows = frame.assign(first=frame["first"].astype(str), second=frame["second"].astype(str))
    ends = pd.DataFrame(np.sort(rows[["first", "second"]].to_numpy(dtype=str), axis=1), columns=["first", "second"])
    columns.require_single(ends, ("first", "second"), figure=_FIGURE)
    itself = rows.loc[rows["first"] == rows["second"], "first"].tolist()
    if itself:
        raise EvaluationError(
            f"cannot draw {_FIGURE}: a point beside itself",
            expected="two points in every row",
            got=listed(itself),
            remedy="drop these rows",
        )
    return rows


def _matrix(rows: pd.DataFrame, measure: _Measure) -> pd.DataFrame:
    """A measure of all pairs, `[N, N]`; NaN on the diagonal and where nothing is known."""
    names = list(dict.fromkeys([*rows["first"], *rows["second"]]))
    found = pd.DataFrame(np.nan, index=names, columns=names)
    forth, back = (columns.numbers(rows, column) for column in measure.columns)
    for first, second, one, other in zip(rows["first"], rows["second"], forth, back, strict=True):
        found.loc[first, second], found.loc[second, first] = one, other
    return found


def _draw(wanted: Sequence[_Measure], matrices: Sequence[pd.DataFrame], *, width: float) -> Figure:
    """The panels on a new figure."""
    names = _labels(matrices[0].index.tolist())
    longest = max(lettering.text_width(line, size=lettering.text_size()) for name in names for line in name.split("\n"))
    line = lettering.text_size() * lettering.LINE_HEIGHT / 72
    least = max(_LEAST, len(names) * line * max(name.count("\n") + 1 for name in names))
    most = min(3, max(1, int((width - longest) // (least + _BAR))))
    lines = task_panels.in_rows([str(one) for one in range(len(wanted))], most=most)
    across = len(lines[0])
    side = max(min(_CELL * len(names), (width - longest) / across - _BAR), min(least, width - longest - _BAR), 0.5)
    below = 0.57 * longest if len(names) <= _FEW else line  # slanted names, or numbers
    figure = style.new_figure(width, len(lines) * (side + below + _TITLE))
    axes = figure.subplots(len(lines), across, squeeze=False)
    panels = task_panels.without_rest(axes, len(wanted))
    shared = [m.to_numpy() for one, m in zip(wanted, matrices, strict=True) if not one.signed]
    high = max((np.nanmax(m, initial=0.0) for m in shared), default=1.0)
    for number, (ax, measure, matrix) in enumerate(zip(panels, wanted, matrices, strict=True)):
        _draw_panel(
            ax, measure, matrix, high=max(float(high), _LEAST_SCALE), names=names if number % across == 0 else []
        )
        task_panels.title(ax, measure.title, width=side + _BAR)
    style.freeze(figure)
    return figure


def _draw_panel(ax: Axes, measure: _Measure, matrix: pd.DataFrame, *, high: float, names: Sequence[str]) -> None:
    """One heat map; `names` are those of the rows, or none."""
    values = matrix.to_numpy()
    if measure.signed:
        high = max(float(np.nanmax(np.abs(values), initial=0.0)), _LEAST_SCALE)
    low = -high if measure.signed else 0.0
    few = len(matrix) <= _FEW
    ax.set_box_aspect(1)
    ax.set_facecolor(_MISSING)
    sns.heatmap(
        matrix, ax=ax, vmin=low, vmax=high, cmap="RdBu_r" if measure.signed else "Blues",
        annot=few, fmt=".2f", linewidths=0.8 if few else 0, linecolor="white", mask=matrix.isna(),
        cbar_ax=ax.inset_axes((1.04, 0, 0.05, 1)), cbar_kws={"ticks": _ticks(low, high)},
        annot_kws={"fontsize": "small"},
    )  # fmt: skip
    if few:
        cell_numbers.make_legible(ax, len(matrix))
    for row, column in np.argwhere(np.isnan(values)) if few else ():
        ax.text(column + 0.5, row + 0.5, "–", ha="center", va="center", color=style.GREY)
    ax.tick_params(axis="both", length=0)
    ticks = np.arange(len(matrix)) + 0.5
    ax.set_yticks(ticks if names else [], names, rotation=0)
    if few:
        below = _labels(matrix.columns.tolist())
        ax.set_xticks(ticks, below, rotation=35, ha="right", rotation_mode="anchor")
    else:
        every = -(-len(matrix) // _NUMBERS)
        ax.set_xticks(ticks[::every], [str(number + 1) for number in range(len(matrix))][::every], rotation=0)


def _ticks(low: float, high: float) -> list[float]:
    """Even numbers on a colour bar, none beyond its ends."""
    return [tick for tick in map(float, MaxNLocator(nbins=4).tick_values(low, high)) if low <= tick <= high]


def _labels(names: Sequence[str]) -> list[str]:
    """Points' names in short lines; numbered where there are so many that columns have room for numbers only."""
    told = names if len(names) <= _FEW else [f"{name}  {number}" for number, name in enumerate(names, 1)]
    width = _LABEL if len(names) <= _FEW else _LONG_LABEL
    return [lettering.wrapped(name, width=width, size=lettering.text_size()) for name in told]
