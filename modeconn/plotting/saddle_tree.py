"""The tree of saddles between many checkpoints: which of them hang together below which loss."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modeconn.errors import EvaluationError, listed

from . import columns, label_places, lettering, style, task_panels
from .label_places import Label

_FIGURE = "a saddle tree"
_HEIGHT, _LABELS = 1.75, 0.7  # inches of the axes; of title and ticks
_MOST_LABELLED = 12  # checkpoints; the saddles of more would cover each other


def plot_saddle_tree(
    frame: pd.DataFrame, *, tasks: Sequence[str] | None = None, width: float = style.PAGE_WIDTH
) -> Figure:
    """One tree for each task: a leaf ends at a checkpoint's loss, two branches join at the saddle between them.

    The tree is that of Draxler 2018 (arXiv 1803.00885), drawn as disconnectivity graphs of energy landscapes are:
    whoever walks from one checkpoint to another along the paths measured must go up to where their branches join.

    Args:
        frame: Columns task, start, end, saddle, loss_start, loss_end, nats per scored token: the N - 1 edges of a tree
            over N checkpoints for each task, as `BarrierMatrix.trees` gives them.
        tasks: Which tasks, all by default.
        width: Inches: `PAGE_WIDTH` or `COLUMN_WIDTH`.

    Returns:
        The figure; pyplot does not know it.

    Raises:
        EvaluationError: The table lacks columns, rows or numbers, or the edges are no tree.
        RunError: A task that is not in the table.
    """
    columns.require_columns(frame, ("task", "start", "end", "saddle", "loss_start", "loss_end"), figure=_FIGURE)
    columns.require_names(frame, ("task", "start", "end"), figure=_FIGURE)
    for column in ("saddle", "loss_start", "loss_end"):
        keys = ("task", "start", "end")
        columns.require_range(frame, column, figure=_FIGURE, keys=keys, low=-np.inf, high=np.inf)
    rows = frame.assign(**{column: frame[column].astype(str) for column in ("task", "start", "end")})
    names = task_panels.chosen(rows, tasks, figure=_FIGURE)
    edges = {task: columns.rows_where(rows, (rows["task"] == task).to_numpy()) for task in names}
    for task, own in edges.items():
        _check_tree(own, task)
    with style.paper_style():
        return _draw(edges, width=width)


def _check_tree(edges: pd.DataFrame, task: str) -> None:
    """Raise unless the edges join all their checkpoints without a ring."""
    groups = {name: {name} for name in [*edges["start"], *edges["end"]]}
    for start, end in zip(edges["start"], edges["end"], strict=True):
        if groups[start] is groups[end]:
            break
        joined = groups[start] | groups[end]
        groups |= dict.fromkeys(joined, joined)
    if len(edges) != len(groups) - 1 or len({id(group) for group in groups.values()}) > 1:
        raise EvaluationError(
            f"cannot draw {_FIGURE}: the edges of {task} are no tree",
            expected="one edge fewer than checkpoints, and no ring",
            got=f"{len(edges)} edges between {listed(groups)}",
            remedy="pass BarrierMatrix.trees(), or the edges of saddle_tree",
        )


def _draw(edges: dict[str, pd.DataFrame], *, width: float) -> Figure:
    """The panels on a new figure."""
    rows = task_panels.in_rows(list(edges))
    room = width / len(rows[0]) - 0.6
    names = {name for own in edges.values() for name in [*own["start"], *own["end"]]}
    longest = max(lettering.text_width(name, size=lettering.text_size()) for name in names)
    titles = task_panels.title_height(list(edges), width=room)
    line = "minimum spanning tree of saddles: branches join at the lowest saddle on the way"
    text = task_panels.head([line], width=width)
    height = len(rows) * (_HEIGHT + _LABELS + 0.75 * longest + titles) + task_panels.head_height(text)
    figure = style.new_figure(width, height)
    axes = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    drawn = []
    for row, block in zip(axes, rows, strict=True):
        for ax, task in zip(task_panels.without_rest(row, len(block)), block, strict=True):
            drawn.append((ax, _draw_tree(ax, edges[task])))
            task_panels.title(ax, task, width=room)
            ax.set_ylabel("mean loss (nats)" if task == block[0] else "")
    task_panels.draw_head(figure, text)
    style.freeze(figure)
    figure.set_layout_engine("none")  # the labels find their places on the figure as it stands
    for ax, tree in drawn:
        _write_saddles(ax, tree)
    return figure


@dataclass(frozen=True, eq=False)
class _Tree:
    """Where a tree was drawn, in data coordinates.

    Attributes:
        branches: The corners of each, `[4, 2]`.
        leaves: Its ends at the checkpoints, `[N, 2]`.
    """

    branches: list[np.ndarray]
    leaves: np.ndarray


def _draw_tree(ax: Axes, edges: pd.DataFrame) -> _Tree:
    """The branches, joined from the lowest saddle to the highest."""
    edges = edges.sort_values("saddle", kind="stable")
    losses = dict(zip(edges["start"], edges["loss_start"], strict=True))
    losses |= dict(zip(edges["end"], edges["loss_end"], strict=True))
    order = _leaves(edges)
    stems = {name: (float(place), float(losses[name])) for place, name in enumerate(order)}
    groups = {name: [name] for name in order}
    branches = []
    for start, end, saddle in zip(edges["start"], edges["end"], edges["saddle"], strict=True):
        (x1, y1), (x2, y2) = sorted((stems[groups[start][0]], stems[groups[end][0]]))
        branches.append(np.array([[x1, y1], [x1, saddle], [x2, saddle], [x2, y2]]))
        ax.plot(*branches[-1].T, color=style.INK, linewidth=1.0, solid_capstyle="round")
        joined = groups[start] + groups[end]
        groups |= dict.fromkeys(joined, joined)
        stems[joined[0]] = ((x1 + x2) / 2, float(saddle))
    leaves = np.array([(place, losses[name]) for place, name in enumerate(order)])
    ax.plot(*leaves.T, "o", zorder=4, color=style.INK, markersize=4, clip_on=False)
    ax.set_xlim(-0.5, len(order) - 0.5)
    ax.margins(y=0.12)
    ax.set_xticks(range(len(order)), order, rotation=35, ha="right", rotation_mode="anchor")
    ax.tick_params(axis="x", length=0)
    return _Tree(branches, leaves)


def _write_saddles(ax: Axes, tree: _Tree) -> None:
    """The saddles' losses beside the middles of their branches, the highest first; none where they are too many."""
    if len(tree.leaves) > _MOST_LABELLED:
        return
    middles = sorted((branch[1:3].mean(axis=0) for branch in tree.branches), key=lambda place: -place[1])
    labels = [Label(place, f"{place[1]:.2f}", style.GREY) for place in middles]
    dots = [np.stack([leaf, leaf]) for leaf in tree.leaves]
    label_places.draw_labels(ax, labels, [*tree.branches, *dots], gaps=(2.0, 6.0))


def _leaves(edges: pd.DataFrame) -> list[str]:
    """The checkpoints from left to right, so that no two branches cross: groups are put side by side as they join."""
    groups = {name: [name] for name in dict.fromkeys([*edges["start"], *edges["end"]])}
    joined: list[str] = []
    for start, end in zip(edges["start"], edges["end"], strict=True):
        joined = groups[start] + groups[end]
        groups |= dict.fromkeys(joined, joined)
    return joined
