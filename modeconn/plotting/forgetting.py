"""Forgetting curves: the score on each task while the others are learnt, one line a method."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from modeconn.errors import EvaluationError

from . import columns, score_rows, style, task_panels
from .legend import legend_below, legend_height

FIGURE = "forgetting curves"
_PANEL_HEIGHT, _LABELS = 1.35, 0.55  # inches
_RUN = ["method", "adapter", "seed"]


def plot_forgetting(
    frame: pd.DataFrame,
    *,
    tasks: Sequence[str] | None = None,
    metric: str | None = None,
    width: float = style.PAGE_WIDTH,
) -> Figure:
    """One panel a task: its score after each task of the run, the mean over seeds, one line a method.

    The dashed line is where the task itself was trained; what falls to the right of it is forgotten. Of several seeds
    the band holds all: it is their range, no interval.

    Args:
        frame: Columns method, adapter, seed, after_task, task, metric, score. Tasks stand in the order of training,
            the same in every run.
        tasks: Which tasks, all by default.
        metric: Which metric, where a task has several beside the loss.
        width: Inches: `COLUMN_WIDTH` or `PAGE_WIDTH`.

    Returns:
        The figure; pyplot does not know it.

    Raises:
        EvaluationError: The table lacks columns, rows or numbers, says a thing twice, or its runs have other orders.
        RunError: A choice that is not in the table, or one that is needed and not made.
    """
    rows = score_rows.checked(frame, figure=FIGURE)
    rows = score_rows.one_metric(rows, metric, figure=FIGURE)
    rows = score_rows.with_scores(rows, figure=FIGURE)
    columns.require_single(rows, (*_RUN, "after_task", "task"), figure=FIGURE)
    order = _order(rows)
    drawn = task_panels.chosen(rows, tasks, figure=FIGURE)
    lines = task_panels.in_rows(drawn, most=4 if width > style.COLUMN_WIDTH else 2)
    with style.paper_style():
        panel_width = width / len(lines[0])
        figure = style.new_figure(width, _LABELS + len(lines) * (_PANEL_HEIGHT + 0.35))
        axes = figure.subplots(len(lines), len(lines[0]), sharex=True, sharey=True, squeeze=False)
        panels = task_panels.without_rest(axes, len(drawn))
        handles: list[Line2D] = []
        for task, ax in zip(drawn, panels, strict=True):
            handles = _draw(ax, rows, task, trained=order.index(task) + 1)
            task_panels.title(ax, task, width=panel_width - 0.3)
        for ax in axes[:, 0]:
            ax.set_ylabel(score_rows.label(rows))
        for ax in panels[-len(lines[-1]) :]:
            ax.set_xlabel("tasks trained")
        figure.set_figheight(figure.get_figheight() + legend_height(handles, width=width))
        legend_below(figure, handles)
        style.freeze(figure)
    return figure


def _order(rows: pd.DataFrame) -> list[str]:
    """The tasks in the order of training, which all runs share."""
    orders = [list(dict.fromkeys(run["task"].tolist())) for _, run in rows.groupby(_RUN, sort=False)]
    others = [order for order in orders if order != orders[0]]
    if others:
        raise EvaluationError(
            f"cannot draw {FIGURE} of runs in different orders",
            expected="one order of the tasks in all runs",
            got=f"{', '.join(orders[0])} and {', '.join(others[0])}",
            remedy="draw the runs of each order by themselves",
        )
    return orders[0]


def _draw(ax: Axes, rows: pd.DataFrame, task: str, *, trained: int) -> list[Line2D]:
    """The lines of one task; returns the legend's handles."""
    names, tasks = score_rows.method_names(rows), rows["task"].to_numpy()
    handles = []
    for name, look in style.looks(dict.fromkeys(names)).items():
        own = columns.rows_where(rows, (names == name) & (tasks == task))
        # [after_task, seed]: an unmeasured cell is a gap in its seed's line, and in the mean
        scores = own.pivot(index="after_task", columns="seed", values="score")
        steps, values = scores.index.to_numpy(), scores.to_numpy()
        if values.shape[1] > 1:
            ax.fill_between(steps, values.min(1), values.max(1), color=look.colour, alpha=0.18, linewidth=0)
        (line,) = ax.plot(steps, values.mean(1), color=look.colour, marker=look.marker, markersize=3.2, label=name)
        handles.append(line)
    ax.axvline(trained, color=style.GREY, linestyle="--", linewidth=0.7, zorder=0.5)
    ax.set_ylim(-0.03, 1.03)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    return handles
