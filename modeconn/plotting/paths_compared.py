"""Several paths in one axes: which of them keeps the loss low between the same ends."""

from collections.abc import Sequence

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from . import columns, lettering, profile_panel, profile_table, single_panel, style
from .profile_table import Metric

_AXES_HEIGHT = 1.75  # inches
FIGURE = "a comparison of paths"


def plot_paths_compared(
    frame: pd.DataFrame,
    *,
    metric: Metric = "loss",
    tasks: Sequence[str] | None = None,
    split: str | None = None,
    width: float = style.COLUMN_WIDTH,
    ax: Axes | None = None,
) -> Axes:
    """One line per path against t: the mean over tasks, such as those of a line, a curve and a chain.

    Args:
        frame: Columns as for `plot_profile`, with several paths; the legend names the space of each.
        metric: "loss" or "score".
        tasks: The tasks of the mean, all by default.
        split: Which split, where the table holds several.
        width: Inches, for a new figure: `COLUMN_WIDTH` or `PAGE_WIDTH`.
        ax: Where to draw, in the fonts that hold there; by default on a new figure in the project's style.

    Returns:
        The axes drawn on.

    Raises:
        EvaluationError: The table lacks columns, rows or numbers, or says a thing twice.
        RunError: A setting that is unknown, or several splits and none chosen.
    """
    rows = profile_table.checked_table(frame, metric=metric)
    rows = columns.pick(rows, "split", split, figure=FIGURE, remedy="pass split= with one of them")
    columns.require_single(rows, ("path", "space", "task", "t"), figure=FIGURE)
    chosen = profile_table.chosen_tasks(profile_table.names(rows, "task"), tasks)
    if ax is None:
        return single_panel.on_new_figure(
            lambda new: _draw(new, rows, chosen, metric, width=width - profile_panel.LABELS_WIDTH),
            width=width,
            height=_AXES_HEIGHT,
        )
    with matplotlib.rc_context({"text.parse_math": False}):
        handles = _draw(ax, rows, chosen, metric, width=ax.bbox.width / ax.figure.dpi)
        ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1))
    return ax


def _draw(ax: Axes, rows: pd.DataFrame, tasks: list[str], metric: Metric, *, width: float) -> list[Line2D]:
    """The lines, labels and a title of at most `width` inches a line; returns the legend's handles."""
    pairs = list(rows[["path", "space"]].drop_duplicates().itertuples(index=False, name=None))
    looks = style.looks(f"{path} {space}" for path, space in pairs).values()
    handles = []
    for (path, space), look in zip(pairs, looks, strict=True):
        own = columns.rows_where(rows, ((rows["path"] == path) & (rows["space"] == space)).to_numpy())
        curve = profile_table.mean_curve(own, tasks, metric=metric)
        label = f"{profile_table.headline(path)} ({space})"
        (line,) = ax.plot(
            curve.index, curve.to_numpy(), color=look.colour, marker=look.marker, markersize=3, label=label
        )
        handles.append(line)
    every = profile_table.names(rows, "task")
    what = "loss (nats)" if metric == "loss" else profile_table.value_label(rows, metric=metric)
    mean = profile_table.mean_label(tasks, every) if len(tasks) > 1 else tasks[0]
    profile_panel.position_axis(ax)
    ax.set_ylabel(what)
    size = lettering.title_size()
    ax.set_title(lettering.wrapped(mean, width=width, size=size), loc="left", fontweight="normal")
    return handles
