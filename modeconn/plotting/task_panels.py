"""Figures with one panel, or a column of panels, for each task."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import lettering
from .chosen_names import chosen_names

_ABREAST = 3  # more would leave no room for a panel's numbers on a page's width


def chosen(frame: pd.DataFrame, tasks: Sequence[str] | None, *, figure: str) -> list[str]:
    """The tasks to draw, in the order of the table: those named, all by default.

    Raises:
        RunError: A name that is not in the column task, or no name.
    """
    return chosen_names(frame, "task", tasks, figure=figure)


def in_rows(tasks: Sequence[str], *, most: int = _ABREAST) -> list[list[str]]:
    """The tasks in rows of `most` at most, as even as possible.

    Example:
        >>> in_rows(["a", "b", "c", "d"])
        [['a', 'b'], ['c', 'd']]
    """
    num_rows = -(-len(tasks) // most)
    across = -(-len(tasks) // num_rows)
    return [list(tasks[i : i + across]) for i in range(0, len(tasks), across)]


def examples(rows: pd.DataFrame) -> str:
    """The number of examples of a task, or its range.

    Args:
        rows: Column num_examples.
    """
    counts = rows["num_examples"].to_numpy()
    low, high = int(counts.min()), int(counts.max())
    return f"n = {low}" if low == high else f"n = {low} to {high}"


def head(lines: Sequence[str], *, width: float) -> str:
    """What stands over all panels, each line wrapped to `width` inches."""
    return "\n".join(lettering.wrapped(line, width=width - 0.1, size=lettering.text_size()) for line in lines)


def head_height(text: str) -> float:
    """Inches that `draw_head` takes."""
    return ((text.count("\n") + 1) * lettering.text_size() * lettering.LINE_HEIGHT + 4) / 72


def draw_head(figure: Figure, text: str) -> None:
    """Text over all panels, from the left."""
    figure.suptitle(text, x=0.01, ha="left", size=lettering.text_size(), weight="normal")


def title(ax: Axes, task: str, *, width: float, y: float | None = None) -> None:
    """A task's name over its panel, wrapped to `width` inches."""
    ax.set_title(lettering.wrapped(task, width=width, size=lettering.title_size(), weight="bold"), loc="left", y=y)


def title_height(tasks: Sequence[str], *, width: float) -> float:
    """Inches that the lines of the longest title take beyond the first."""
    size = lettering.title_size()
    lines = [lettering.wrapped(task, width=width, size=size, weight="bold").count("\n") for task in tasks]
    return max(lines) * size * lettering.LINE_HEIGHT / 72


def without_rest(axes: np.ndarray, count: int) -> list[Axes]:
    """The first `count` axes of a grid; the others are taken off the figure."""
    flat = list(axes.flat)
    for ax in flat[count:]:
        ax.remove()
    return flat[:count]
