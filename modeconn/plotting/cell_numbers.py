"""Numbers on the cells of a heat map, in the ink that can be read there."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

_INKS = ("0.15", "white")  # as seaborn has them


def make_legible(ax: Axes, num_columns: int) -> None:
    """Write each number dark or white, whichever stands out more from its cell, with the minus sign of the axes.

    Seaborn changes over where the cell is so bright that white has a contrast of 2.3 left; 3.9 is possible everywhere.

    Args:
        ax: With a heat map of seaborn as its first collection, and its numbers as all of its texts.
        num_columns: Cells of a row.
    """
    mesh = ax.collections[0]
    mesh.update_scalarmappable()
    colours = np.asarray(mesh.get_facecolor())  # [rows * columns, 4]
    for number in ax.texts:
        column, row = (int(place) for place in number.get_position())
        cell = tuple(colours[row * num_columns + column, :3])
        number.set_text(number.get_text().replace("-", "\N{MINUS SIGN}"))
        number.set_color(max(_INKS, key=lambda ink, cell=cell: contrast(to_rgb(ink), cell)))


def contrast(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    """The ratio of two colours' relative luminances, from 1 to 21 (WCAG 2.2, success criterion 1.4.3).

    Args:
        first: Red, green and blue in [0, 1].
        second: The same.

    Example:
        >>> round(contrast((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), 9)
        21.0
    """
    dark, bright = sorted(map(_luminance, (first, second)))
    return (bright + 0.05) / (dark + 0.05)


def _luminance(colour: tuple[float, ...]) -> float:
    """The relative luminance of an sRGB colour."""
    values = np.asarray(colour)
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
