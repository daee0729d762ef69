"""A legend under the axes of a whole figure, in as few lines as its width allows."""

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from .lettering import LINE_HEIGHT, text_size, text_width, wrapped

_SIGN, _SIGN_GAP, _COLUMN_GAP = 2.2, 0.8, 1.5  # widths in font sizes


def legend_below(figure: Figure, handles: Sequence[Artist]) -> None:
    """One legend for the whole figure, under its axes."""
    labels = _labels(handles, width=figure.get_figwidth())
    figure.legend(
        handles=list(handles),
        labels=labels,
        loc="outside lower center",
        ncols=_num_columns(labels, width=figure.get_figwidth()),
        handlelength=_SIGN,
        handletextpad=_SIGN_GAP,
        columnspacing=_COLUMN_GAP,
        borderaxespad=0.2,
    )


def legend_height(handles: Sequence[Artist], *, width: float) -> float:
    """Inches that `legend_below` takes on a figure of `width` inches."""
    labels = _labels(handles, width=width)
    lines = [label.count("\n") + 1 for label in labels]
    deepest = max(column.sum() for column in np.array_split(lines, _num_columns(labels, width=width)))
    return (deepest * LINE_HEIGHT * text_size() + 6) / 72


def _labels(handles: Sequence[Artist], *, width: float) -> list[str]:
    """The handles' labels, those too long for a legend of `width` inches in several lines."""
    room = width - (_SIGN + _SIGN_GAP) * text_size() / 72 - 0.1
    return [wrapped(str(handle.get_label()), width=room, size=text_size()) for handle in handles]


def _num_columns(labels: Sequence[str], *, width: float) -> int:
    """The columns that give the fewest rows within `width` inches; of equals the fewest."""
    em = text_size() / 72
    widths = [max(text_width(line, size=text_size()) for line in label.split("\n")) for label in labels]

    def fits(count: int) -> bool:
        # matplotlib deals the entries out as array_split does.
        texts = sum(column.max() for column in np.array_split(widths, count))
        return texts + em * (count * (_SIGN + _SIGN_GAP) + (count - 1) * _COLUMN_GAP + 1) <= width

    fitting = [count for count in range(2, len(labels) + 1) if fits(count)]
    return min([1, *fitting], key=lambda count: (-(-len(labels) // count), count))
