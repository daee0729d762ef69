"""Panels of heat maps with one colour scale and one colour bar."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import cell_numbers, cka_table, lettering, style, task_panels

_MISSING = "#e6e6e6"
_CELL, _LEAST, _MOST = 0.3, 1.3, 3.2  # inches of a cell, and the least and most of all of them
_BAR = 0.65  # inches of the colour bar
_LABEL = 1.1  # inches of a line of a tick's name
_SLANT = 35  # degrees of names that do not fit side by side
_WRITTEN = 8  # cells of a row in which numbers are written


@dataclass(frozen=True)
class Heat:
    """How panels are drawn.

    Attributes:
        head: Lines over all panels.
        x_label: Under every panel.
        y_label: Beside the first panel of a row.
        limits: Of the colour scale.
        cmap: The colours.
        bar_label: Beside the colour bar.
        square: Whether panels are as high as wide.
    """

    head: Sequence[str]
    x_label: str
    y_label: str
    limits: tuple[float, float]
    cmap: str = cka_table.HEAT
    bar_label: str = cka_table.LABEL
    square: bool = True


def draw_heats(matrices: Mapping[str, pd.DataFrame], heat: Heat, *, width: float) -> Figure:
    """A panel for each matrix, the first row at the bottom; a missing value is grey with a dash.

    Args:
        matrices: Title -> `[rows, columns]`, names as their index.
        heat: How they are drawn.
        width: Inches of the figure.

    Returns:
        The figure; pyplot does not know it.
    """
    with style.paper_style():
        first = next(iter(matrices.values()))
        size = lettering.text_size()
        longest = max(lettering.text_width(line, size=size) for name in first.index for line in _lines(name))
        beside = longest + 0.35
        most = max(1, int((width - _BAR) // (_LEAST + beside)))
        blocks = task_panels.in_rows(list(matrices), most=min(3, most))
        across = len(blocks[0])
        side = max(min(_CELL * max(first.shape), (width - _BAR) / across - beside, _MOST), 0.8)
        high = side if heat.square else side * min(1.0, max(0.4, first.shape[0] / first.shape[1]))
        if across == 1:  # a page's width would leave the panel far from its title
            width = min(width, max(style.COLUMN_WIDTH, side + beside + _BAR))
        text = task_panels.head(heat.head, width=width)
        under = max(lettering.text_width(line, size=size) for name in first.columns for line in _lines(name))
        above = task_panels.title_height(list(matrices), width=side) + 0.25
        height = len(blocks) * (high + above + 0.75 * under + 0.5) + task_panels.head_height(text)
        figure = style.new_figure(width, height)
        axes = figure.subplots(len(blocks), across, squeeze=False)
        drawn: list[Axes] = []
        for row, block in zip(axes, blocks, strict=True):
            for number, (ax, title) in enumerate(zip(task_panels.without_rest(row, len(block)), block, strict=True)):
                _draw_panel(ax, matrices[title], title, heat, side=(side, high), outer=number == 0)
                drawn.append(ax)
        bar = figure.colorbar(drawn[0].collections[0], ax=drawn, label=heat.bar_label, shrink=0.8, aspect=16)
        bar.outline.set_visible(False)  # type: ignore[operator, union-attr]
        task_panels.draw_head(figure, text)
        style.freeze(figure)
    return figure


def _draw_panel(
    ax: Axes, matrix: pd.DataFrame, title: str, heat: Heat, *, side: tuple[float, float], outer: bool
) -> None:
    """One heat map with its names."""
    ax.set_box_aspect(side[1] / side[0])
    ax.set_facecolor(_MISSING)
    few = max(matrix.shape) <= _WRITTEN
    written = matrix.round(2) + 0.0 if few else None  # 0.00, never -0.00
    low, high = heat.limits
    sns.heatmap(
        matrix, ax=ax, vmin=low, vmax=high, cmap=heat.cmap, annot=written, fmt=".2f", cbar=False, mask=matrix.isna(),
        linewidths=0.8 if few else 0, linecolor="white", annot_kws={"fontsize": "small"},
    )  # fmt: skip
    ax.invert_yaxis()  # the first layer at the bottom
    if few:
        cell_numbers.make_legible(ax, matrix.shape[1])
        for row, column in np.argwhere(matrix.isna().to_numpy()):
            ax.text(column + 0.5, row + 0.5, "–", ha="center", va="center", color=style.GREY)
    ax.tick_params(axis="both", length=0)
    upright = _apart(matrix.columns.tolist(), side[0])
    rows, beside = _ticks(matrix.index.tolist(), side[1])
    ax.set_yticks(rows, beside, rotation=0)
    places, below = _ticks(matrix.columns.tolist(), side[0], slant=90 if upright else _SLANT)
    if upright:
        ax.set_xticks(places, below, rotation=0)
    else:
        ax.set_xticks(places, below, rotation=_SLANT, ha="right", rotation_mode="anchor")
    ax.set_xlabel(heat.x_label)
    ax.set_ylabel(heat.y_label if outer else "")
    task_panels.title(ax, title, width=side[0])


def _ticks(names: Sequence[str], room: float, *, slant: float = 90) -> tuple[np.ndarray, list[str]]:
    """Places and texts of the names that are written within `room` inches, at an angle to the axis that they are on."""
    texts = ["\n".join(_lines(name)) for name in names]
    step = _step(len(names), room, lines=max(text.count("\n") + 1 for text in texts) / np.sin(np.radians(slant)))
    return np.arange(len(names))[::step] + 0.5, texts[::step]


def _step(count: int, room: float, *, lines: float = 1.0) -> int:
    """Every how many names one is written, so that names of so many lines stay apart."""
    line = lettering.text_size() * lettering.LINE_HEIGHT / 72
    return max(1, int(np.ceil(count * lines * line / room)))


def _apart(names: Sequence[str], room: float) -> bool:
    """Whether names fit side by side without being turned."""
    step = _step(len(names), room)
    widest = max(lettering.text_width(line, size=lettering.text_size()) for name in names for line in _lines(name))
    return widest + 0.05 <= room / len(names) * step


def _lines(name: str) -> list[str]:
    """A name in short lines."""
    return lettering.wrapped(str(name), width=_LABEL, size=lettering.text_size()).split("\n")
