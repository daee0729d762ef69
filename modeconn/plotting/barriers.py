"""Barriers of many paths and tasks, one under the other: a forest plot."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from . import columns, forest_lines, lettering, style, task_panels
from .forest_lines import Line
from .legend import legend_below, legend_height
from .profile_panel import BASELINES, Baseline
from .profile_table import Metric

_FIGURE = "a forest plot of barriers"
_NAMES = ("path", "space", "task", "metric", "baseline")
_KNOWN = ("low", "high", "estimate_corrected", "p_holm", "num_effective")  # missing where examples are few
_PITCH, _LABELS_HEIGHT = 0.155, 0.5  # inches from line to line; of ticks and axis label
_MOST, _NARROWEST = 44, 3.0  # lines in one column before there is a second; inches of a column
_LABEL, _P_WIDTH = 0.36, 0.55  # share of a column that labels may take; inches of a p-value


def plot_barriers(
    frame: pd.DataFrame,
    *,
    metric: Metric | None = None,
    baseline: Baseline = "chord",
    tasks: Sequence[str] | None = None,
    few_effective: float = 6.0,
    width: float = style.COLUMN_WIDTH,
) -> Figure:
    """One line per path and task: the barrier, its interval, the estimate without a maximum's bias, the p-value.

    The p-value is that of "no barrier", adjusted for all paths and tasks of the table (Holm). An interval whose
    variance is carried by few examples may be too short; it is broken. Where no path has two tasks the paths
    themselves label the lines; long tables stand in two columns where the width allows.

    Args:
        frame: Columns path, space, task, metric, baseline, barrier, low, high, estimate_corrected, p_holm,
            num_effective, num_examples, as in barriers.csv; nats, or a share in [0, 1] for the score's error. What
            follows from an interval may be missing. confidence, that of the intervals, is 0.95 where it is missing.
        metric: "loss" or "score", where the table holds both.
        baseline: What the barriers are measured from: "chord" or "mean".
        tasks: Which tasks, all by default.
        few_effective: Below so many effective examples an interval is broken.
        width: Inches: `COLUMN_WIDTH` or `PAGE_WIDTH`.

    Returns:
        The figure; pyplot does not know it.

    Raises:
        EvaluationError: The table lacks columns, rows or numbers, or says a thing twice.
        RunError: A setting that is not in the table, or one that is needed and not made.
    """
    rows = _checked(frame)
    for column, value in (("metric", metric), ("baseline", baseline)):
        rows = columns.pick(rows, column, value, figure=_FIGURE, remedy=f"pass {column}= with one of them")
    chosen = task_panels.chosen(rows, tasks, figure=_FIGURE)
    looks = style.looks(rows["task"].drop_duplicates())
    rows = columns.rows_where(rows, rows["task"].isin(chosen).to_numpy()).reset_index(drop=True)
    columns.require_single(rows, ("path", "space", "task"), figure=_FIGURE)
    rows = rows.assign(
        colour=[looks[task].colour for task in rows["task"]],
        marker=[looks[task].marker for task in rows["task"]],
        few=rows["num_effective"].to_numpy() < few_effective,
    )
    with style.paper_style():
        return _draw(rows, width=width)


def _checked(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with names as text and numbers as float64."""
    columns.require_columns(frame, [*_NAMES, "barrier", *_KNOWN, "num_examples"], figure=_FIGURE)
    columns.require_names(frame, _NAMES, figure=_FIGURE)
    keys = ("path", "task", "metric", "baseline")
    columns.require_range(frame, "barrier", figure=_FIGURE, keys=keys, low=-np.inf, high=np.inf)
    columns.require_range(frame, "num_examples", figure=_FIGURE, keys=keys, low=1, high=np.inf)
    for column in _KNOWN:  # gaps are meant, infinity is not
        present = columns.rows_where(frame, frame[column].notna().to_numpy())
        bounds = (0.0, 1.0) if column == "p_holm" else (-np.inf, np.inf)
        columns.require_range(present, column, figure=_FIGURE, keys=keys, low=bounds[0], high=bounds[1])
    texts = {column: frame[column].astype(str) for column in _NAMES}
    numeric = {column: columns.numbers(frame, column) for column in ("barrier", *_KNOWN)}
    return frame.assign(**texts, **numeric)


def _draw(rows: pd.DataFrame, *, width: float) -> Figure:
    """The columns of lines on a new figure, one legend below."""
    across = max(1, int(width // _NARROWEST))
    label_width = _LABEL * width / across
    blocks = forest_lines.lines_of(rows, width=width / across - _P_WIDTH, label_width=label_width)
    blocks = forest_lines.in_columns(blocks, most=_MOST, count=across)
    if len(blocks) < across:  # fewer columns have more room
        label_width = _LABEL * width / len(blocks)
        blocks = forest_lines.lines_of(rows, width=width / len(blocks) - _P_WIDTH, label_width=label_width)
        blocks = forest_lines.in_columns(blocks, most=_MOST, count=1)
    handles = _legend_handles(rows)
    text = task_panels.head(_head(rows), width=width)
    tallest = max(map(forest_lines.heights, blocks))
    height = (tallest + 1) * _PITCH + _LABELS_HEIGHT + task_panels.head_height(text)
    figure = style.new_figure(width, height + legend_height(handles, width=width))
    axes = figure.subplots(1, len(blocks), squeeze=False, sharex=True)[0]
    for ax, block in zip(axes, blocks, strict=True):
        _draw_column(ax, rows, block, num_lines=tallest)
    low, high = _limits(rows)
    axes[0].set_xlim(low, high)
    task_panels.draw_head(figure, text)
    legend_below(figure, handles)
    style.freeze(figure)
    return figure


def _draw_column(ax: Axes, rows: pd.DataFrame, block: Sequence[Line], *, num_lines: float) -> None:
    """One column: headings, labels, points, intervals, p-values. A unit of the vertical axis is a line of text."""
    ax.axvline(0, color=style.GREY, linewidth=0.8, linestyle=":", zorder=0.5)
    labels = [line.text for line in block if line.row is not None]
    room = max(lettering.text_width(part, size=lettering.text_size()) for text in labels for part in text.split("\n"))
    top, ticks = 0.0, []
    for line in block:
        middle = top + line.middle
        if line.row is None:
            _draw_heading(ax, line.text, middle, offset=room * 72 + 5)
        else:
            ticks.append(middle)
            _draw_row(ax, rows.iloc[line.row], middle)
            _beside(ax, middle, _p_text(float(rows["p_holm"].iloc[line.row])))
        top += line.height
    _beside(ax, -0.6, "p (Holm)", colour=style.GREY)
    ax.set_yticks(ticks, labels)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_ylim(num_lines, -0.3)
    what = "loss barrier (nats)" if rows["metric"].iloc[0] == "loss" else "barrier of the error"
    ax.set_xlabel(what)


def _draw_row(ax: Axes, row: Mapping[str, Any], y: float) -> None:
    """A barrier's interval, its height, and the estimate without bias."""
    if np.isfinite([row["low"], row["high"]]).all():
        style_of = (0, (2, 1.2)) if row["few"] else "-"
        ax.plot([row["low"], row["high"]], [y, y], color=row["colour"], linestyle=style_of, linewidth=1.3, zorder=2)
    if math.isfinite(row["estimate_corrected"]):
        ax.plot([row["estimate_corrected"]], [y], **_tick_look(), zorder=4, clip_on=False)
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.4}
    ax.plot([row["barrier"]], [y], marker=row["marker"], color=row["colour"], markersize=4.6, zorder=3, **edge)


def _draw_heading(ax: Axes, text: str, y: float, *, offset: float) -> None:
    """A path's name from the left edge of the labels, `offset` points left of the axes."""
    ax.annotate(
        text, (0, y), (-offset, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
        weight="bold", bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5}, annotation_clip=False, zorder=5,
    )  # fmt: skip


def _beside(ax: Axes, y: float, text: str, *, colour: str = style.INK) -> None:
    """Text right of the axes."""
    place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    ax.annotate(text, (1, y), (4, 0), **place, va="center", color=colour, annotation_clip=False)


def _p_text(p: float) -> str:
    """A p-value as papers write it; a dash where there is none."""
    if np.isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _limits(rows: pd.DataFrame) -> tuple[float, float]:
    """Limits that hold zero and all that is drawn, and do not blow up a difference of nothing."""
    values = rows[["barrier", "low", "high", "estimate_corrected"]].to_numpy()
    low, high = min(0.0, float(np.nanmin(values))), max(0.0, float(np.nanmax(values)))
    high = max(high, low + 0.01)
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def _head(rows: pd.DataFrame) -> list[str]:
    """What the numbers hold for."""
    lines = [f"barriers above the {BASELINES[rows['baseline'].iloc[0]]}"]
    spaces = rows["space"].drop_duplicates().tolist()
    space = f"{spaces[0]} space, " if len(spaces) == 1 else ""
    tasks = rows["task"].drop_duplicates().tolist()
    return [*lines, f"{space}{tasks[0] + ', ' if len(tasks) == 1 else ''}{task_panels.examples(rows)}"]


def _legend_handles(rows: pd.DataFrame) -> list[Line2D]:
    """What the signs mean, as far as they are drawn."""
    handles = [Line2D([], [], color=style.GREY, marker="o", markersize=4.6, linestyle="none", label="barrier")]
    known = np.isfinite(rows[["low", "high"]].to_numpy(dtype=float)).all(axis=1)
    few = rows["few"].to_numpy(dtype=bool)
    if np.isfinite(rows["estimate_corrected"].to_numpy(dtype=float)).any():
        handles.append(Line2D([], [], **_tick_look(), linestyle="none", label="without the bias of a maximum"))
    if (known & ~few).any():
        handles.append(Line2D([], [], color=style.GREY, linewidth=1.3, label=_interval_label(rows)))
    if (known & few).any():
        words = f"{_interval_label(rows)} that rests on few examples"
        handles.append(Line2D([], [], color=style.GREY, linewidth=1.3, linestyle=(0, (2, 1.2)), label=words))
    return handles


def _interval_label(rows: pd.DataFrame) -> str:
    """The words for the intervals, with their confidence where all have the same."""
    found = np.unique(columns.numbers(rows, "confidence")) if "confidence" in rows else [0.95]
    return f"{100 * found[0]:g} % interval" if len(found) == 1 else "interval"


def _tick_look() -> dict[str, Any]:
    """A short upright stroke."""
    return {"marker": "|", "color": style.INK, "markersize": 7, "markeredgewidth": 1.1}
