"""What a path costs above its baseline, with the band that holds the whole of it."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from . import band_rows, columns, lettering, profile_panel, single_panel, style, task_panels
from .band_rows import FIGURE, Above
from .profile_table import Metric, headline

_AXES_HEIGHT = 1.75  # inches
_WORDS = {"nothing": "", "chord": " above the chord", "mean": " above the mean of the ends"}
_UNITS = {"loss": " (nats)", "score": ""}


def plot_bands(
    frame: pd.DataFrame,
    *,
    metric: Metric | None = None,
    above: Above | None = None,
    path: str | None = None,
    space: str | None = None,
    tasks: Sequence[str] | None = None,
    width: float = style.COLUMN_WIDTH,
    ax: Axes | None = None,
) -> Axes:
    """One line per task in its simultaneous band; above a baseline with the zero line and the barrier marked.

    Where a band's lower edge rises above zero, the task has a barrier at the band's confidence. The bands of many tasks
    cover each other: name some of them, or draw them on several axes.

    Args:
        frame: Columns path, space, task, metric, above, t, value, low, high, as `Profile.bands()` gives them; for the
            metric "score" they are of the error. Nats, or a share in [0, 1].
        metric: "loss" or "score", where the table holds both.
        above: "nothing", "chord" or "mean", where the table holds several.
        path: Which path, where the table holds several.
        space: Which space, where the table holds several.
        tasks: Which tasks, all by default.
        width: Inches, for a new figure: `COLUMN_WIDTH` or `PAGE_WIDTH`.
        ax: Where to draw, in the fonts that hold there; by default on a new figure in the project's style.

    Returns:
        The axes drawn on.

    Raises:
        EvaluationError: The table lacks columns, rows or numbers, or says a thing twice.
        RunError: A setting that is not in the table, or one that is needed and not made.
    """
    rows = band_rows.checked_bands(frame)
    for column, value in (("metric", metric), ("above", above), ("path", path), ("space", space)):
        rows = columns.pick(rows, column, value, figure=FIGURE, remedy=f"pass {column}= with one of them")
    looks = style.looks(rows["task"].drop_duplicates())
    chosen = {task: looks[task] for task in task_panels.chosen(rows, tasks, figure=FIGURE)}
    if ax is not None:
        with matplotlib.rc_context({"text.parse_math": False}):
            handles = _draw(ax, rows, chosen, width=ax.bbox.width / ax.figure.dpi)
            ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0)
        return ax
    return single_panel.on_new_figure(
        lambda new: _draw(new, rows, chosen, width=width - profile_panel.LABELS_WIDTH),
        width=width,
        height=_AXES_HEIGHT,
    )


def _draw(ax: Axes, rows: pd.DataFrame, looks: dict[str, style.Look], *, width: float) -> list[Line2D | Patch]:
    """Bands, lines, zero line and labels; returns the legend's handles."""
    first = rows.iloc[0]
    raised = first["above"] != "nothing"
    handles: list[Line2D | Patch] = []
    for task, look in looks.items():
        own = columns.rows_where(rows, (rows["task"] == task).to_numpy())
        handles.append(_draw_task(ax, own, task, look, mark=raised))
    if raised:
        ax.axhline(0, color=style.GREY, linewidth=0.8, linestyle=":", zorder=1)
    profile_panel.position_axis(ax)
    what = {"loss": "loss", "score": "error"}[first["metric"]]
    ax.set_ylabel(f"{what}{_WORDS[first['above']]}{_UNITS[first['metric']]}")
    title = f"{headline(first['path'])} ({first['space']})"
    ax.set_title(lettering.wrapped(title, width=width, size=lettering.title_size(), weight="bold"), loc="left")
    handles.append(Patch(facecolor=style.GREY, alpha=0.3, linewidth=0, label=band_rows.band_label(rows)))
    if raised:
        handles.append(Line2D([], [], color=style.GREY, linestyle=":", linewidth=0.8, label="no barrier"))
        handles.append(Line2D([], [], **_look_of_top(style.GREY, "o"), linestyle="none", label="barrier"))
    return handles


def _draw_task(ax: Axes, own: pd.DataFrame, task: str, look: style.Look, *, mark: bool) -> Line2D:
    """One task's line and band, and where it is highest; returns its handle."""
    t, value = own["t"].to_numpy(), own["value"].to_numpy()
    ax.fill_between(t, own["low"], own["high"], color=look.colour, alpha=0.18, linewidth=0, zorder=1)
    every = max(1, (len(t) - 1) // 10)
    edge = {"marker": look.marker, "markersize": 3.6, "markeredgecolor": "white", "markeredgewidth": 0.4}
    (line,) = ax.plot(t, value, color=look.colour, markevery=every, zorder=2, label=task, **edge)
    top = int(np.argmax(value))
    if mark and value[top] > 0:
        ax.plot([t[top]], [value[top]], **_look_of_top(look.colour, look.marker), zorder=3)
    return line


def _look_of_top(colour: str, marker: str) -> dict[str, Any]:
    """A large marker with a dark edge."""
    return {"color": colour, "marker": marker, "markersize": 6.5, "markeredgecolor": style.INK, "markeredgewidth": 0.9}
