"""Which examples a path loses and wins: shares along t, and every example as a row."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from . import columns, example_states, lettering, profile_panel, style, task_panels
from .example_states import FIGURE, WORDS, States
from .legend import legend_below, legend_height
from .profile_table import headline

# Dark to pale: the order stays in grey print.
_COLOURS = ("#0173b2", "#7cc0e8", "#de8f05", "#e6e6e6")
_SHARES_HEIGHT, _STRIP_HEIGHT, _LABELS_HEIGHT = 1.2, 1.2, 0.75  # inches
_NARROWEST = 1.6  # inches of a panel


def plot_examples_along_path(
    frame: pd.DataFrame,
    *,
    tasks: Sequence[str] | None = None,
    path: str | None = None,
    right_from: float = 1.0,
    strip: bool = True,
    width: float = style.COLUMN_WIDTH,
) -> Figure:
    """For each task the shares of examples kept, won and lost since t = 0, and below them every example as a row.

    The heavy line is the share that is right. Two positions with the same share may have different examples right:
    the areas of won and lost examples say how many. The strip's rows are sorted by where an example is first lost or
    won, so that it shows those that come back.

    Args:
        frame: Per-example records: columns path, task, t, example, score (in [0, 1]); every example at every t.
        tasks: Which tasks, all by default.
        path: Which path, where the table holds several.
        right_from: The least score of an example that counts as right.
        strip: Whether to draw the rows.
        width: Inches: `COLUMN_WIDTH` or `PAGE_WIDTH`.

    Returns:
        The figure; pyplot does not know it.

    Raises:
        EvaluationError: The table lacks columns, rows or numbers, says a thing twice, or examples lack positions.
        RunError: A setting that is unknown, or several paths and none chosen.
    """
    example_states.require_threshold(right_from)
    rows = example_states.checked_records(frame)
    rows = columns.pick(rows, "path", path, figure=FIGURE, remedy="pass path= with one of them")
    found = {
        task: example_states.states_of(
            columns.rows_where(rows, (rows["task"] == task).to_numpy()), right_from=right_from
        )
        for task in task_panels.chosen(rows, tasks, figure=FIGURE)
    }
    binary = bool(rows["score"].isin([0.0, 1.0]).to_numpy().all())
    words = "" if binary else f"right: a score of {right_from:g} or more"
    with style.paper_style():
        return _draw(found, [headline(rows["path"].iloc[0]), words], strip=strip, width=width)


def _draw(found: dict[str, States], lines: Sequence[str], *, strip: bool, width: float) -> Figure:
    """The panels on a new figure, one legend below."""
    grid = task_panels.in_rows(list(found), most=min(3, max(1, int(width // _NARROWEST))))
    room = width / len(grid[0]) - 0.5
    text = task_panels.head([line for line in lines if line], width=width)
    titles = task_panels.title_height(list(found), width=room) + _note_height(found, width=room)
    ratios = [_SHARES_HEIGHT, *([_STRIP_HEIGHT] if strip else [])] * len(grid)
    handles = _legend_handles()
    height = sum(ratios) + len(grid) * (_LABELS_HEIGHT + titles) + task_panels.head_height(text)
    figure = style.new_figure(width, height + legend_height(handles, width=width))
    axes = figure.subplots(len(ratios), len(grid[0]), squeeze=False, height_ratios=ratios)
    each = 2 if strip else 1
    for number, block in enumerate(grid):
        upper = axes[number * each]
        lower = axes[number * each + each - 1]
        for ax, below, task in zip(upper, lower, block, strict=False):
            _draw_shares(ax, found[task])
            _draw_title(ax, task, found[task], width=room)
            if strip:
                _draw_strip(below, found[task])
                ax.tick_params(labelbottom=False)
                ax.set_xlabel("")
        for row in axes[number * each : (number + 1) * each]:
            task_panels.without_rest(row, len(block))
            for ax in row[1 : len(block)]:
                ax.set_ylabel("")
    task_panels.draw_head(figure, text)
    legend_below(figure, handles)
    style.freeze(figure)
    return figure


def _draw_shares(ax: Axes, states: States) -> None:
    """The shares one upon the other, and the line of what is right."""
    shares = states.shares
    ax.stackplot(states.t, shares, colors=_COLOURS, linewidth=0)
    right = shares[: example_states.WON + 1].sum(axis=0)
    ax.plot(states.t, right, color=style.INK, linewidth=1.6, solid_capstyle="butt")
    _position_axis(ax)
    ax.set_ylim(0, 1)
    ax.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    ax.set_ylabel("share of examples")


def _draw_strip(ax: Axes, states: States) -> None:
    """Every example as a row, coloured by its state at every position."""
    t, count = states.t, len(states.examples)
    edges = np.array([t[0], *((t[1:] + t[:-1]) / 2), t[-1]])
    # An image: one small picture in the file, where a mesh would be thousands of paths.
    ax.pcolorfast(edges, np.arange(count + 1), states.state, cmap=ListedColormap(_COLOURS), vmin=-0.5, vmax=3.5)
    _position_axis(ax)
    ax.set_ylim(0, count)
    ax.set_yticks([0, count], ["0", str(count)])
    ax.set_ylabel("examples, sorted")


def _position_axis(ax: Axes) -> None:
    """The positions from side to side, without margins."""
    profile_panel.position_axis(ax)
    ax.set_xlim(0, 1)


def _note(states: States) -> str:
    """How many there are, and how many change."""
    lost, won = states.counts_at_end()
    return f"n = {len(states.examples)}; lost {lost}, won {won} at t = {states.t[-1]:g}"


def _draw_title(ax: Axes, task: str, states: States, *, width: float) -> None:
    """The task's name, and under it its numbers."""
    note = lettering.wrapped(_note(states), width=width, size=lettering.text_size())
    depth = (note.count("\n") + 1) * lettering.text_size() * lettering.LINE_HEIGHT
    title = lettering.wrapped(task, width=width, size=lettering.title_size(), weight="bold")
    ax.set_title(title, loc="left", pad=depth + 4)
    place = {"xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False}
    ax.annotate(note, (0, 1), (0, 3), **place, va="bottom", color=style.GREY)


def _note_height(found: dict[str, States], *, width: float) -> float:
    """Inches that the notes take."""
    size = lettering.text_size()
    lines = [lettering.wrapped(_note(states), width=width, size=size).count("\n") + 1 for states in found.values()]
    return max(lines) * size * lettering.LINE_HEIGHT / 72


def _legend_handles() -> list[Line2D | Patch]:
    """The states from the uppermost area down, and the line."""
    handles: list[Line2D | Patch] = [Line2D([], [], color=style.INK, linewidth=1.6, label="right at t")]
    return [
        *handles,
        *(Patch(facecolor=colour, label=word) for colour, word in zip(_COLOURS, WORDS, strict=True)),
    ]
