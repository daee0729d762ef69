"""What a path trades: the old task's metric against the new task's, along t."""

from collections.abc import Mapping

import matplotlib
import pandas as pd
from matplotlib.axes import Axes

from . import columns, profile_table, single_panel, style, trade_off_table
from .profile_table import Metric
from .trade_off_panel import Panel
from .trade_off_table import FIGURE, Tasks

_BESIDE = 0.7  # inches of a figure's width that the labels of the vertical axis take
_SIDE = 3.3  # inches of the square at most, however wide the figure


def plot_trade_off(
    frame: pd.DataFrame,
    *,
    old: Tasks | None = None,
    new: Tasks | None = None,
    metric: Metric = "score",
    chosen: float | Mapping[str, float] | None = None,
    split: str | None = None,
    width: float = style.COLUMN_WIDTH,
    ax: Axes | None = None,
) -> Axes:
    """One line per path from its start to its end: how much of the new task costs how much of the old.

    What some measured point beats or equals on both sides is shaded; its edge is the Pareto front. The star marks the
    best mean of both sides, and the dotted line all places of that mean. Intervals are drawn where points are marked
    and a side is a single task. Both axes have the same scale.

    Args:
        frame: Columns as for `plot_profile`, with one or several paths.
        old: The task on the horizontal axis, or several for their mean; with two tasks in the table the first.
        new: The task on the vertical axis, or several; with two tasks in the table the second.
        metric: "score", or "loss", of which less is better.
        chosen: A position to mark, such as the one chosen on another split; by path where they differ.
        split: Which split, where the table holds several.
        width: Inches, for a new figure: `COLUMN_WIDTH` or `PAGE_WIDTH`.
        ax: Where to draw, in the fonts and at the size that it has; by default on a new figure in the project's style.

    Returns:
        The axes drawn on.

    Raises:
        EvaluationError: The table lacks columns, rows or numbers, or says a thing twice.
        RunError: A setting that is unknown, a choice that is needed and not made, or a position that was not measured.
    """
    rows = profile_table.checked_table(frame, metric=metric)
    rows = columns.pick(rows, "split", split, figure=FIGURE, remedy="pass split= with one of them")
    columns.require_single(rows, ("path", "space", "task", "t"), figure=FIGURE)
    old_tasks, new_tasks = trade_off_table.sides(rows, old, new)
    curves = trade_off_table.curves(rows, old_tasks, new_tasks, metric=metric)
    marked = trade_off_table.chosen_places(curves, chosen)
    labels = [trade_off_table.side_label(rows, side, metric=metric) for side in (old_tasks, new_tasks)]
    side = min(width - _BESIDE, _SIDE) if ax is None else ax.bbox.height / ax.figure.dpi
    panel = Panel(curves, marked, metric, labels, room=0.9 * side)  # labels of two lines make the square smaller
    if ax is None:
        return single_panel.on_new_figure(panel.draw, width=width, height=side, finish=panel.write)
    with matplotlib.rc_context({"text.parse_math": False}):
        ax.legend(handles=panel.draw(ax), loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0)
        panel.write(ax)
    return ax
