"""Barriers between many checkpoints as heat maps, alike ones side by side."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import dendrogram, linkage
from scipy.spatial.distance import squareform

from modeconn.errors import EvaluationError, listed

from . import columns, lettering, style, task_panels
from .profile_panel import BASELINES, Baseline

_FIGURE = "a barrier matrix"
_NAMES = ("start", "end", "space", "task", "split")
_MISSING = "#e6e6e6"
_CELL, _LEAST = 0.3, 1.2  # inches of a cell, and the least of all of them
_LABEL, _BAR_WIDTH = 1.1, 0.7  # inches of a line of a checkpoint's name; of the colour bar


def plot_barrier_matrix(
    frame: pd.DataFrame,
    *,
    tasks: Sequence[str] | None = None,
    baseline: Baseline = "chord",
    clustered: bool = True,
    width: float = style.PAGE_WIDTH,
) -> Figure:
    """One heat map of the loss barriers between checkpoints for each task.

    Where all pairs are known the checkpoints are sorted by average-linkage clustering, the barrier as their
    distance; the dendrogram stands above. Otherwise they keep their order, and pairs not measured are grey with a dash.
    Barriers below 0, which only those against the mean can be, count as distance 0.

    Args:
        frame: Columns start, end, space, task, split, num_examples, and barrier_chord or barrier_mean, nats; one row
            for each pair and task.
        tasks: Which tasks, all by default.
        baseline: What the barriers are measured from: "chord" or "mean".
        clustered: Whether to sort.
        width: Inches: `PAGE_WIDTH` or `COLUMN_WIDTH`.

    Returns:
        The figure; pyplot does not know it.

    Raises:
        EvaluationError: The table lacks columns, rows or numbers, or says a thing twice.
        RunError: A setting that is unknown, or several splits or spaces.
    """
    columns.require_choice("baseline", baseline, [name for name in BASELINES if name])
    value = f"barrier_{baseline}"
    rows = _checked(frame, value)
    names = task_panels.chosen(rows, tasks, figure=_FIGURE)
    matrices = {task: _matrix(rows, task, value) for task in names}
    first = rows.iloc[0]
    lines = [f"loss barriers on lines, against the {BASELINES[baseline]}"]
    lines += [f"{first['space']} space, {first['split']} split, {task_panels.examples(rows)}"]
    with style.paper_style():
        return _draw(matrices, lines, clustered=clustered, width=width)


def _checked(frame: pd.DataFrame, value: str) -> pd.DataFrame:
    """The rows of one space and split, with names as text and numbers as float64."""
    columns.require_columns(frame, [*_NAMES, value, "num_examples"], figure=_FIGURE)
    columns.require_names(frame, _NAMES, figure=_FIGURE)
    keys = ("start", "end", "task")
    columns.require_range(frame, value, figure=_FIGURE, keys=keys, low=-np.inf, high=np.inf)
    columns.require_range(frame, "num_examples", figure=_FIGURE, keys=keys, low=1, high=np.inf)
    for column in ("space", "split"):
        columns.pick(frame, column, None, figure=_FIGURE, remedy=f"pass the rows of one {column}")
    texts = {column: frame[column].astype(str) for column in _NAMES}
    rows = frame.assign(**texts, **{value: columns.numbers(frame, value)})
    columns.require_single(_undirected(rows), ("start", "end", "task"), figure=_FIGURE)
    return rows


def _undirected(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with both ends of a pair in alphabetic order: a line has one barrier in both directions."""
    ends = np.sort(rows[["start", "end"]].to_numpy(dtype=str), axis=1)
    itself = ends[ends[:, 0] == ends[:, 1], 0]
    if len(itself):
        raise EvaluationError(
            f"cannot draw {_FIGURE}: a line from a checkpoint to itself",
            expected="two checkpoints in every row",
            got=listed(itself.tolist()),
            remedy="drop these rows",
        )
    return rows.assign(start=ends[:, 0], end=ends[:, 1])


def _matrix(rows: pd.DataFrame, task: str, value: str) -> pd.DataFrame:
    """The barriers of a task, `[N, N]`: symmetric, 0 on the diagonal, NaN not measured; in the order of the table."""
    names = list(dict.fromkeys(rows[["start", "end"]].to_numpy().T.reshape(-1).tolist()))
    matrix = pd.DataFrame(np.nan, index=names, columns=names)
    own = columns.rows_where(rows, (rows["task"] == task).to_numpy())
    for start, end, barrier in zip(own["start"], own["end"], own[value], strict=True):
        matrix.loc[start, end] = matrix.loc[end, start] = barrier
    for name in names:
        matrix.loc[name, name] = 0.0
    return matrix


def _draw(matrices: dict[str, pd.DataFrame], lines: list[str], *, clustered: bool, width: float) -> Figure:
    """The panels on a new figure."""
    names = [_wrapped(name) for name in next(iter(matrices.values())).index]
    longest = max(lettering.text_width(line, size=lettering.text_size()) for name in names for line in name.split("\n"))
    beside = longest + _BAR_WIDTH
    rows = task_panels.in_rows(list(matrices), most=min(3, max(1, int(width // (_LEAST + beside)))))
    across = len(rows[0])
    side = max(min(_CELL * len(names), width / across - beside), 0.5)
    text = task_panels.head(lines, width=width)
    above = 0.27 * side + task_panels.title_height(list(matrices), width=side)
    height = len(rows) * (side + above + 0.75 * longest + 0.6) + task_panels.head_height(text)
    figure = style.new_figure(width, height)
    axes = figure.subplots(len(rows), across, squeeze=False)
    for row, block in zip(axes, rows, strict=True):
        for ax, task in zip(task_panels.without_rest(row, len(block)), block, strict=True):
            _draw_panel(ax, matrices[task], task, clustered=clustered, width=side)
    task_panels.draw_head(figure, text)
    style.freeze(figure)
    return figure


def _draw_panel(ax: Axes, matrix: pd.DataFrame, task: str, *, clustered: bool, width: float) -> None:
    """A heat map, and above it the dendrogram where there is one."""
    ax.set_box_aspect(1)
    known = not matrix.isna().to_numpy().any()
    tree = clustered and known and len(matrix) > 2 and bool((matrix.to_numpy() > 0).any())
    if tree:
        matrix = _draw_dendrogram(ax, matrix)
    ax.set_facecolor(_MISSING)
    high = float(np.nanmax(matrix.to_numpy()))
    few = len(matrix) <= 8
    sns.heatmap(
        matrix, ax=ax, vmin=min(0.0, float(np.nanmin(matrix.to_numpy()))), vmax=high if high > 0 else 1.0, cmap="Reds",
        annot=few, fmt=".2f", linewidths=0.8 if few else 0, linecolor="white", mask=matrix.isna(),
        cbar_ax=ax.inset_axes((1.04, 0, 0.05, 1)), cbar_kws={"label": "nats"}, annot_kws={"fontsize": "small"},
    )  # fmt: skip
    for row, column in np.argwhere(matrix.isna().to_numpy()):
        ax.text(column + 0.5, row + 0.5, "–", ha="center", va="center", color=style.GREY)
    ax.tick_params(axis="both", length=0)
    ticks = np.arange(len(matrix)) + 0.5
    ax.set_yticks(ticks, [_wrapped(name) for name in matrix.index], rotation=0)
    ax.set_xticks(ticks, [_wrapped(name) for name in matrix.columns], rotation=35, ha="right", rotation_mode="anchor")
    task_panels.title(ax, task, width=width, y=1.27 if tree else None)


def _draw_dendrogram(ax: Axes, matrix: pd.DataFrame) -> pd.DataFrame:
    """The dendrogram above the axes; the matrix in its order."""
    distances = squareform(np.maximum(matrix.to_numpy(), 0.0))
    merges = linkage(distances, "average", optimal_ordering=True)
    above = ax.inset_axes((0, 1.02, 1, 0.22))
    found = dendrogram(merges, no_plot=True)
    for x, y in zip(found["icoord"], found["dcoord"], strict=True):
        above.plot(np.array(x) / 10, y, color=style.GREY, linewidth=0.8, clip_on=False)  # scipy's leaves are 10 apart
    above.set_xlim(0, len(matrix))
    above.set_ylim(bottom=0)
    above.set_axis_off()
    order = found["leaves"]
    return matrix.iloc[order, order]


def _wrapped(name: str) -> str:
    """A checkpoint's name in short lines."""
    return lettering.wrapped(name, width=_LABEL, size=lettering.text_size())
