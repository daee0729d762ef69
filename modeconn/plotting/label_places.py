"""Small labels beside points, where they cover neither each other nor what is drawn."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from . import lettering, style

_DIRECTIONS = [(1, 0), (0, 1), (-1, 0), (0, -1), (0.75, 0.75), (-0.75, 0.75), (-0.75, -0.75), (0.75, -0.75)]
_MOST_COVERED = 3  # places of the curves under a label that is not needed
_HALO = [patheffects.withStroke(linewidth=1.4, foreground="white")]
_STEP = 2.0  # points between the places at which a curve is sampled


@dataclass(frozen=True, eq=False)
class Label:
    """Text for a point.

    Attributes:
        place: The point `[2]`, in data coordinates.
        text: What is written.
        colour: Of the text.
        needed: Whether it is written even where it covers curves.
    """

    place: np.ndarray
    text: str
    colour: str = style.INK
    needed: bool = True


def draw_labels(
    ax: Axes, labels: Sequence[Label], curves: Sequence[np.ndarray], *, gaps: Sequence[float] = (5.0, 10.0)
) -> None:
    """Labels are written beside their points; those that find no place are left out.

    The axes must have their final limits and place on the figure.

    Args:
        ax: The axes.
        labels: The most important first.
        curves: What the labels should not cover, each `[points, 2]` in data coordinates.
        gaps: Distances tried from a point to the edge of its label, in points.
    """
    drawn = np.concatenate([_sampled(_in_points(ax, curve)) for curve in curves])  # [places, 2]
    room = ax.bbox.transformed(ax.figure.dpi_scale_trans.inverted())
    bounds = Bbox(room.get_points() * 72)
    taken: list[Bbox] = []
    for label in labels:
        place = _in_points(ax, label.place[None])[0]
        free = _free(_boxes(label.text, place, gaps), bounds, taken)
        best = min(free, key=lambda box: _covered(box, drawn), default=None)  # of equals the first
        if best is None or (not label.needed and _covered(best, drawn) > _MOST_COVERED):
            continue
        taken.append(best)
        middle = best.get_points().mean(axis=0) - place
        ax.annotate(
            label.text, tuple(label.place), tuple(middle), textcoords="offset points", ha="center", va="center",
            color=label.colour, zorder=6, path_effects=_HALO,
        )  # fmt: skip


def _free(boxes: Iterable[Bbox], bounds: Bbox, taken: Sequence[Bbox]) -> list[Bbox]:
    """The boxes inside bounds that touch no other label."""
    return [
        box
        for box in boxes
        if bounds.x0 <= box.x0 and box.x1 <= bounds.x1 and bounds.y0 <= box.y0 and box.y1 <= bounds.y1
        if not any(box.overlaps(other) for other in taken)
    ]


def _boxes(text: str, place: np.ndarray, gaps: Sequence[float]) -> Iterator[Bbox]:
    """The boxes tried for a text beside a place, in points."""
    size = lettering.text_size()
    half = np.array([72 * lettering.text_width(text, size=size) / 2 + 1, 0.6 * size])
    for gap in gaps:
        for direction in _DIRECTIONS:
            middle = place + np.array(direction) * (half + gap)
            yield Bbox([middle - half, middle + half])


def _covered(box: Bbox, drawn: np.ndarray) -> int:
    """How many places of the curves lie in a box."""
    return int(((drawn >= box.min) & (drawn <= box.max)).all(axis=1).sum())


def _in_points(ax: Axes, places: np.ndarray) -> np.ndarray:
    """Data coordinates `[places, 2]` as points from the figure's corner."""
    return ax.transData.transform(places) * 72 / ax.figure.dpi


def _sampled(curve: np.ndarray) -> np.ndarray:
    """A curve of straight pieces `[points, 2]` at every `_STEP` of its length."""
    lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(curve, axis=0).T))])
    at = np.linspace(0, lengths[-1], int(lengths[-1] / _STEP) + 2)
    return np.stack([np.interp(at, lengths, values) for values in curve.T], axis=1)
