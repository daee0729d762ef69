"""How the figures look: widths, fonts, colours, markers. Nothing here changes the user's rcParams."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib.style
import seaborn as sns
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

COLUMN_WIDTH = 3.3
"""Width in inches of a figure that fills one column of a two-column paper."""

PAGE_WIDTH = 6.9
"""Width in inches of a figure that fills the page."""

INK = "#262626"
GREY = "#6b6b6b"

_SETTINGS: Mapping[str, Any] = {
    # The one family that matplotlib carries with it: the figure is the same on every machine.
    "font.family": ["DejaVu Sans"],
    "font.size": 7,  # points; the least that most journals take at print size
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": "medium",
    "xtick.labelsize": "medium",
    "ytick.labelsize": "medium",
    "legend.fontsize": "medium",
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.2,
    "figure.facecolor": "white",
    # A task may be called "a_$b": names are text, never formulas.
    "text.parse_math": False,
}

# seaborn's "colorblind", its most alike pairs moved apart and its palest colours last.
_PALETTE_ORDER = (0, 1, 2, 4, 3, 9, 5, 7, 6, 8)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "d")


@dataclass(frozen=True)
class Look:
    """How one series is drawn: the colour for the screen, the marker for grey print."""

    colour: str
    marker: str


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look for each name; colours repeat after 10, markers after 12, pairs after 60.

    Example:
        >>> looks(["stance", "tone"])["tone"].marker
        's'
    """
    palette = sns.color_palette("colorblind", 10).as_hex()
    return {name: Look(palette[_PALETTE_ORDER[i % 10]], _MARKERS[i % len(_MARKERS)]) for i, name in enumerate(names)}


def paper_style() -> AbstractContextManager[None]:
    """A context in which new figures look like the project's: matplotlib's defaults, then the settings here.

    The user's rcParams hold again when it ends.
    """
    return matplotlib.style.context(dict(_SETTINGS), after_reset=True)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` by `height` inches, unknown to pyplot, that keeps its labels inside."""
    return Figure(figsize=(width, height), layout="constrained")


def pale(colour: str) -> tuple[float, float, float]:
    """The colour as it looks on white paper at less than half its strength."""
    red, green, blue = (1 - 0.45 * (1 - part) for part in to_rgb(colour))
    return red, green, blue


def freeze(figure: Figure) -> None:
    """Makes what matplotlib would make late (ticks, layout) now, while the style holds."""
    figure.draw_without_rendering()
