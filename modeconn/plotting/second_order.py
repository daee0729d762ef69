"""Curvature of tasks' losses: at points, and along a line."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from modeconn.errors import EvaluationError

from . import columns, lettering, style
from .legend import legend_below, legend_height
from .profile_table import headline

_POINTS, _ALONG = "curvature at points", "curvature along a line"
_PANEL_HEIGHT, _LABELS = 1.6, 0.62  # inches
# Title and unit -> columns of values, each with that of its error or None.
_PANELS = {
    "trace": [("trace", "trace_error")],
    "largest and smallest\neigenvalue": [("top", "top_error"), ("bottom", "bottom_error")],
    "sharpness": [("sharpness", None)],
}


def plot_second_order(frame: pd.DataFrame, *, width: float = style.PAGE_WIDTH) -> Figure:
    """Trace, extreme eigenvalues and sharpness by point, a colour and marker for each task, with their errors.

    The eigenvalues of one point and task are joined: the Hessian's spectrum lies between them.

    Args:
        frame: Columns point, task, split, loss, trace, top and bottom (each with _error) and sharpness, as
            `second_order` gives them; a measure that is missing everywhere has no panel.
        width: Inches.

    Returns:
        The figure; pyplot does not know it.

    Raises:
        EvaluationError: The table lacks columns, rows or numbers, or says a thing twice.
    """
    measures = [pair for pairs in _PANELS.values() for pair in pairs]
    needed = ["point", "task", "split", *(name for pair in measures for name in pair if name)]
    columns.require_columns(frame, needed, figure=_POINTS)
    columns.require_names(frame, ["point", "task"], figure=_POINTS)
    columns.require_single(frame, ["point", "task"], figure=_POINTS)
    drawn = {title: pairs for title, pairs in _PANELS.items() if frame[pairs[0][0]].notna().to_numpy().any()}
    if not drawn:
        raise EvaluationError(
            f"cannot draw {_POINTS}: no measure has a value",
            expected="numbers in one of the columns trace, top or sharpness",
            got="none",
            remedy="measure at least one of them",
        )
    for name in (name for pairs in drawn.values() for pair in pairs for name in pair if name):
        columns.require_range(frame, name, figure=_POINTS, keys=("point", "task"), low=-np.inf, high=np.inf)
    points, looks = frame["point"].astype(str).drop_duplicates().tolist(), style.looks(_tasks(frame))
    with style.paper_style():
        names = [lettering.wrapped(one, width=width / len(drawn) / max(len(points), 2), size=6.0) for one in points]
        figure = style.new_figure(width, _LABELS + _PANEL_HEIGHT + 0.1 * max(name.count("\n") for name in names))
        axes = figure.subplots(1, len(drawn), squeeze=False)[0]
        for ax, (title, pairs) in zip(axes, drawn.items(), strict=True):
            _draw_points(ax, frame, pairs, points, looks)
            ax.set_xticks(range(len(points)), names, fontsize=6.0, rotation=0 if len(points) <= 4 else 90)
            ax.set_title(title, loc="left")
        _finish(figure, looks, width=width)
    return figure


def plot_curvature(frame: pd.DataFrame, *, width: float = style.PAGE_WIDTH) -> Figure:
    """Loss above its second derivative along a line, one line a task.

    Args:
        frame: Columns path, space, task, split, t, loss and curvature, as `curvature_along` gives them.
        width: Inches.

    Returns:
        The figure; pyplot does not know it.

    Raises:
        EvaluationError: The table lacks columns, rows or numbers, or says a thing twice.
    """
    columns.require_columns(frame, ["path", "space", "task", "split", "t", "loss", "curvature"], figure=_ALONG)
    columns.require_names(frame, ["path", "task"], figure=_ALONG)
    columns.require_single(frame, ["task", "t"], figure=_ALONG)
    columns.require_range(frame, "loss", figure=_ALONG, keys=("task", "t"), low=-np.inf, high=np.inf)
    looks, first = style.looks(_tasks(frame)), frame.iloc[0]
    with style.paper_style():
        figure = style.new_figure(width, _LABELS + 2 * 1.3)
        upper, lower = figure.subplots(2, 1, sharex=True)
        for task, look in looks.items():
            own = columns.rows_where(frame, (frame["task"] == task).to_numpy()).sort_values("t")
            for ax, column in ((upper, "loss"), (lower, "curvature")):
                known = own.loc[own[column].notna()]
                every = max(1, len(known) // 10)
                marks = {"marker": look.marker, "markersize": 3.4, "markevery": every, "markeredgecolor": "white"}
                ax.plot(known["t"], known[column], color=look.colour, markeredgewidth=0.4, clip_on=False, **marks)
        lower.axhline(0, color=style.GREY, linewidth=0.6, zorder=0.5)
        upper.set_ylabel("loss, nats")
        lower.set_ylabel("second derivative,\nnats / length²")
        lower.set_xlabel("t")
        lower.set_xlim(0, 1)
        title = f"{headline(str(first['path']))}, space={first['space']}, {first['split']} split"
        upper.set_title(lettering.wrapped(title, width=width - 0.8, size=lettering.title_size()), loc="left")
        _finish(figure, looks, width=width)
    return figure


def _tasks(frame: pd.DataFrame) -> list[str]:
    """The tasks in the order of the table."""
    return frame["task"].astype(str).drop_duplicates().tolist()


def _draw_points(
    ax: Axes,
    frame: pd.DataFrame,
    pairs: Sequence[tuple[str, str | None]],
    points: Sequence[str],
    looks: dict[str, style.Look],
) -> None:
    """One panel: the tasks of a point side by side."""
    shift = 0.6 / max(len(looks), 1)
    for number, (task, look) in enumerate(looks.items()):
        own = columns.rows_where(frame, (frame["task"] == task).to_numpy())
        x = [points.index(name) + shift * (number - (len(looks) - 1) / 2) for name in own["point"].astype(str)]
        for value, error in pairs:
            spread = columns.numbers(own, error) if error else None
            ax.errorbar(
                x, columns.numbers(own, value), yerr=spread, fmt=look.marker, color=look.colour, markersize=4.0,
                markeredgecolor="white", markeredgewidth=0.4, elinewidth=0.8, capsize=1.8,
            )  # fmt: skip
        if len(pairs) > 1:
            low, high = (columns.numbers(own, value) for value, _ in reversed(pairs))
            ax.vlines(x, low, high, color=look.colour, linewidth=0.6, zorder=0.8)
    ax.axhline(0, color=style.GREY, linewidth=0.6, zorder=0.5)
    ax.set_xlim(-0.5, len(points) - 0.5)


def _finish(figure: Figure, looks: dict[str, style.Look], *, width: float) -> None:
    """The legend of the tasks below."""
    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, markersize=4.0, markeredgecolor="white", label=task)
        for task, look in looks.items()
    ]
    figure.set_figheight(figure.get_figheight() + legend_height(handles, width=width))
    legend_below(figure, handles)
    style.freeze(figure)
