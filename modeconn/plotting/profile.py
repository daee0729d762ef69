"""One profile: the loss or the score of every task along one path."""

from collections.abc import Sequence

import matplotlib
import pandas as pd
from matplotlib.axes import Axes

from . import band_rows, columns, profile_panel, profile_table, style
from .legend import legend_below, legend_height
from .profile_panel import Baseline, Panel
from .profile_table import Metric


def plot_profile(
    frame: pd.DataFrame,
    *,
    metric: Metric = "loss",
    path: str | None = None,
    split: str | None = None,
    space: str | None = None,
    baseline: Baseline | None = "chord",
    mean_of: Sequence[str] | None = None,
    bands: pd.DataFrame | None = None,
    width: float = style.COLUMN_WIDTH,
    ax: Axes | None = None,
) -> Axes:
    """One line per task against t, with its band, its ends, its baseline, the tasks' mean and the best t.

    The best t has the lowest mean loss or the highest mean score of the tasks in `mean_of`; of equals the
    smallest. The mean is drawn at the t that all these tasks share. A band is drawn where the table has
    `loss_low` and `loss_high` (`score_low` and `score_high`).

    Args:
        frame: Columns path, space, task, split, t, num_examples, num_tokens, and loss (nats per scored token)
            or score (in [0, 1]) with metric, the score's name.
        metric: "loss" or "score".
        path: Which path, where the table holds several.
        split: Which split, where the table holds several.
        space: Which space, where the table holds several.
        baseline: What a barrier is measured from: the chord between the ends, their mean, or None for no
            baseline drawn.
        mean_of: The tasks whose mean is drawn and whose best t is marked, all by default; the others are
            drawn pale. On a path from an old to a new task, name these two.
        bands: Simultaneous bands to draw as well, from `Profile.bands(metric)` of the same run: they hold the whole
            profile, where the intervals hold one position each.
        width: Inches, for a new figure: `COLUMN_WIDTH` or `PAGE_WIDTH`.
        ax: Where to draw, in the fonts that hold there. By default on a new figure in the project's style,
            which pyplot does not know: save it with `save_figure`, or show `ax.figure` in a notebook.

    Returns:
        The axes drawn on.

    Raises:
        EvaluationError: The table lacks columns, rows or numbers, or says a thing twice, or the bands are another
            profile's.
        RunError: A setting that is unknown, or several paths, splits or spaces and none chosen, or no band
            of what is drawn.
    """
    columns.require_choice("baseline", baseline, tuple(profile_panel.BASELINES))
    table = profile_table.of_path(profile_table.checked_table(frame, metric=metric), path)
    rows = profile_table.ordered(profile_table.in_setting(table, split=split, space=space))
    tasks = profile_table.names(rows, "task")
    chosen = profile_table.chosen_tasks(tasks, mean_of)
    drawn = band_rows.over_profile(bands, rows, metric=metric)
    panel = Panel(rows, metric, baseline, chosen, style.looks(tasks), drawn)
    if ax is None:
        return _on_new_figure(panel, width=width)
    with matplotlib.rc_context({"text.parse_math": False}):
        profile_panel.draw_panel(ax, panel)
        profile_panel.draw_title(ax, rows, width=ax.bbox.width / ax.figure.dpi)
        handles = profile_panel.legend_handles([panel])
        ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0)
    return ax


def _on_new_figure(panel: Panel, *, width: float) -> Axes:
    """A figure of its own: the axes keep their height, titles and legend add to it."""
    with style.paper_style():
        room = width - profile_panel.LABELS_WIDTH
        handles = profile_panel.legend_handles([panel])
        height = profile_panel.AXES_HEIGHT + profile_panel.LABELS_HEIGHT
        height += profile_panel.title_height(panel.rows, width=room) + legend_height(handles, width=width)
        figure = style.new_figure(width, height)
        ax = figure.subplots()
        profile_panel.draw_panel(ax, panel)
        profile_panel.draw_title(ax, panel.rows, width=room)
        legend_below(figure, handles)
        style.freeze(figure)
    return ax
