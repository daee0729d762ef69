"""How much room text takes, and where it is broken, in the style that holds now."""

import re
from collections.abc import Callable

import matplotlib
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

LINE_HEIGHT = 1.35
"""From one line of text to the next, in font sizes."""


def text_size() -> float:
    """Points of ordinary text in the style that holds now."""
    return float(matplotlib.rcParams["font.size"])


def title_size() -> float:
    """Points of a title in the style that holds now."""
    return float(FontProperties(size=matplotlib.rcParams["axes.titlesize"]).get_size_in_points())


def text_width(text: str, *, size: float, weight: str = "normal") -> float:
    """Width in inches of one line of text in the current font at `size` points."""
    font = FontProperties(size=size, weight=weight)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 72


def wrapped(text: str, *, width: float, size: float, weight: str = "normal") -> str:
    """Text in lines of at most `width` inches: broken at spaces, else at `- _ /` or a no-break space, else anywhere."""

    def fits(line: str) -> bool:
        return text_width(line, size=size, weight=weight) <= width

    lines: list[str] = [""]
    for word in re.split(r"[ \t\n]+", text):  # not at a no-break space
        for gap, piece in _pieces(word, fits):
            joined = f"{lines[-1]}{gap}{piece}" if lines[-1] else piece
            if lines[-1] and not fits(joined):
                lines.append(piece.lstrip())
            else:
                lines[-1] = joined
    return "\n".join(lines)


def _pieces(word: str, fits: Callable[[str], bool]) -> list[tuple[str, str]]:
    """A word whole if it fits on a line, else its parts, each with the gap that stands before it."""
    if fits(word):
        return [(" ", word)]
    parts = re.findall(r"\u00a0?[^-_/\u00a0]+[-_/]*|[-_/\u00a0]+", word)
    if not all(map(fits, parts)):
        parts = list(word)
    return [(" " if i == 0 else "", part) for i, part in enumerate(parts)]
