"""What stands on the panel of a trade-off: paths, ends, front, best mean, chosen positions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from . import label_places, lettering, style, trade_off_table
from .label_places import Label
from .profile_table import Metric
from .trade_off_table import Curve

_SHADE = "#f0f0f0"
_WRITTEN = (0.25, 0.5, 0.75)  # positions labelled beside the ends, as near as they were measured
_EDGE: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.4}
_STAR: dict[str, Any] = {"marker": "*", "markersize": 11, "markeredgecolor": style.INK, "markeredgewidth": 0.7}
_RING: dict[str, Any] = {"marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.1}
_EQUAL: dict[str, Any] = {"color": style.GREY, "linestyle": ":", "linewidth": 0.8}


@dataclass(frozen=True)
class Panel:
    """What is drawn.

    Attributes:
        curves: The paths.
        marked: Curves and places of the chosen positions.
        metric: "loss" or "score".
        labels: The words of both axes.
        room: Inches that the words of an axis may take.
    """

    curves: Sequence[Curve]
    marked: Sequence[tuple[Curve, int]]
    metric: Metric
    labels: Sequence[str]
    room: float

    @property
    def places(self) -> np.ndarray:
        """All places of all curves, `[N, 2]`."""
        return np.concatenate([curve.places for curve in self.curves])

    def _stairs(self, ax: Axes) -> np.ndarray:
        """The Pareto front's stairs on the axes."""
        return _stairs(ax, trade_off_table.front(self.places, metric=self.metric), self.metric)

    @property
    def looks(self) -> list[style.Look]:
        """Each curve's colour and marker."""
        return list(style.looks(str(i) for i in range(len(self.curves))).values())

    def draw(self, ax: Axes) -> list[Line2D | Patch]:
        """Everything but the labels of positions; returns the legend's handles."""
        curve, top = self.best
        _draw_scales(ax, self._extent(), bounded=self.metric == "score")
        words = [lettering.wrapped(label, width=self.room, size=lettering.text_size()) for label in self.labels]
        ax.set_xlabel(words[0])
        ax.set_ylabel(words[1])
        for one, look in zip(self.curves, self.looks, strict=True):
            _draw_curve(ax, one, look, self._crosses(one))
        _draw_front(ax, self._stairs(ax), self.metric)
        ax.axline(tuple(curve.places[top]), slope=-1, zorder=0.8, **_EQUAL)
        ax.plot(*curve.places[[top]].T, color=self._colour(curve), linestyle="none", zorder=5, **_STAR)
        for one, i in self.marked:
            ax.plot(*one.places[[i]].T, linestyle="none", markeredgecolor=style.INK, zorder=5.5, **_RING)
        return [*self._path_handles(), *self._sign_handles()]

    def write(self, ax: Axes) -> None:
        """The positions beside their points; the axes must have their final limits and place."""
        labels = [Label(c.places[i], f"t = {c.t[i]:g}") for i in (0, -1) for c in self.curves]
        labels += [Label(c.places[i], f"{c.t[i]:g}", self._colour(c)) for c, i in self.marked]
        for curve in self.curves:
            for i in dict.fromkeys(int(np.abs(curve.t - t).argmin()) for t in _WRITTEN):
                if 0 < i < len(curve.t) - 1:
                    label = Label(curve.places[i], f"{curve.t[i]:g}", self._colour(curve), needed=False)
                    labels.append(label)
        once = {tuple(label.place.round(9)): label for label in reversed(labels)}
        drawn = [self._stairs(ax), *(curve.places for curve in self.curves)]
        drawn += [line for curve in self.curves for i in self._crosses(curve) for line in _cross(curve, i)]
        x, (curve, top) = np.array(ax.get_xlim()), self.best
        drawn.append(np.stack([x, curve.places[top].sum() - x], axis=1))
        label_places.draw_labels(ax, list(reversed(once.values())), drawn)

    @property
    def best(self) -> tuple[Curve, int]:
        """The curve and the place with the best mean."""
        return trade_off_table.best(self.curves, metric=self.metric)

    def _colour(self, curve: Curve) -> str:
        """A curve's colour; ink where there is one only."""
        number = next(i for i, one in enumerate(self.curves) if one is curve)
        return self.looks[number].colour if len(self.curves) > 1 else style.INK

    def _crosses(self, curve: Curve) -> list[int]:
        """The places of a curve that are drawn with their intervals."""
        marked = [i for one, i in [*self.marked, self.best] if one is curve]
        return sorted({0, len(curve.t) - 1, *marked})

    def _extent(self) -> np.ndarray:
        """The lowest and the highest of all that is drawn, `[2, 2]`."""
        crosses = [line for curve in self.curves for i in self._crosses(curve) for line in _cross(curve, i)]
        every = np.concatenate([self.places, *crosses])
        return np.stack([np.nanmin(every, axis=0), np.nanmax(every, axis=0)])

    def _path_handles(self) -> list[Line2D]:
        """One entry for each path."""
        return [
            Line2D([], [], color=look.colour, marker=look.marker, markersize=4, label=curve.label)
            for curve, look in zip(self.curves, self.looks, strict=True)
        ]

    def _sign_handles(self) -> list[Line2D | Patch]:
        """What the star, the ring, the lines and the shade mean."""
        curve, top = self.best
        value = float(curve.places[top].mean())
        where = f"best mean, {value:.3g} at t = {curve.t[top]:g}"
        star = Line2D([], [], color=self._colour(curve), linestyle="none", label=where, **_STAR)
        handles: list[Line2D | Patch] = [star, Line2D([], [], **_EQUAL, label="equal mean")]
        if self.marked:
            found = sorted({f"{one.t[i]:g}" for one, i in self.marked})
            label = f"chosen t = {' or '.join(found)}"
            handles.append(Line2D([], [], linestyle="none", markeredgecolor=style.INK, label=label, **_RING))
        front = Patch(facecolor=_SHADE, edgecolor=style.GREY, linewidth=0.6, label="Pareto front, what it beats")
        return [*handles, front]


def _cross(curve: Curve, i: int) -> list[np.ndarray]:
    """The intervals of a place as two lines, each `[2, 2]`; those that are not known are left out."""
    (old, new), low, high = curve.places[i], curve.low[i], curve.high[i]
    lines = [np.array([[low[0], new], [high[0], new]]), np.array([[old, low[1]], [old, high[1]]])]
    return [line for line in lines if np.isfinite(line).all()]


def _draw_scales(ax: Axes, extent: np.ndarray, *, bounded: bool) -> None:
    """Both axes with one scale around what is drawn; with `bounded` little more than 0 to 1."""
    span = 1.12 * max(float(np.ptp(extent, axis=0).max()), 0.02)
    low = extent.mean(axis=0) - span / 2
    if bounded:
        low = np.maximum(np.minimum(low, 1.03 - span), min(-0.03, 1.03 - span))
    ax.set_xlim(low[0], low[0] + span)
    ax.set_ylim(low[1], low[1] + span)
    ax.set_box_aspect(1)
    ax.locator_params(nbins=5)


def _draw_curve(ax: Axes, curve: Curve, look: style.Look, crossed: Sequence[int]) -> None:
    """A path with its points, its ends larger, and the intervals of the places in `crossed`."""
    line = {"color": look.colour, "marker": look.marker}
    ax.plot(*curve.places.T, markersize=3, zorder=2, **line, **_EDGE)
    ax.plot(*curve.places[[0, -1]].T, markersize=6.5, linestyle="none", zorder=3, **line, **_EDGE)
    for i in crossed:
        for cross in _cross(curve, i):
            ax.plot(*cross.T, color=look.colour, linewidth=0.6, alpha=0.6, zorder=1.2)


def _stairs(ax: Axes, front: np.ndarray, metric: Metric) -> np.ndarray:
    """The corners of the front's stairs from edge to edge, `[corners, 2]`; the limits of the axes must be set."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    old, new = front.T
    if metric == "score":  # towards the lower left everything is beaten
        x, y = np.repeat([left, *old], 2)[1:], np.repeat([*new, bottom], 2)[:-1]
    else:
        x, y = np.repeat([*old, right], 2)[:-1], np.repeat([top, *new], 2)[1:]
    return np.stack([x, y], axis=1)


def _draw_front(ax: Axes, stairs: np.ndarray, metric: Metric) -> None:
    """The stairs, and the shade of all that they beat."""
    beaten = ax.get_ylim()[0 if metric == "score" else 1]
    ax.fill_between(stairs[:, 0], stairs[:, 1], beaten, facecolor=_SHADE, linewidth=0, zorder=0.2)
    ax.plot(*stairs.T, color=style.GREY, linewidth=0.6, zorder=0.6)
