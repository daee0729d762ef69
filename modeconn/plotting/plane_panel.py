"""What stands on one panel of a plane: contours, the colour bar, points and a path."""

from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from modeconn.errors import EvaluationError

from . import columns, profile_table, style

Metric = Literal["loss", "score"]
_COLOURS = {"loss": "viridis", "score": "cividis"}
_MOST_UNEQUAL = 2.0  # wider or higher grids get a scale for each direction
_RISE = 2.0  # how far the colours go on above the points, in rises from the lowest loss to theirs
_CASING = [patheffects.withStroke(linewidth=2.4, foreground=style.INK)]
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "d")


@dataclass(frozen=True)
class Panel:
    """One task's metric on the grid.

    Attributes:
        task: The task.
        metric: "loss" or "score".
        x: The grid's lines, `[X]`, increasing.
        y: `[Y]`.
        values: `[Y, X]`.
        drawn: Points and path.
        label: The words of the colour bar.
    """

    task: str
    metric: Metric
    x: np.ndarray
    y: np.ndarray
    values: np.ndarray
    drawn: pd.DataFrame
    label: str

    @classmethod
    def of(cls, rows: pd.DataFrame, task: str, metric: Metric, drawn: pd.DataFrame) -> "Panel":
        """A task's panel from the table of a surface.

        Raises:
            EvaluationError: If the grid has gaps, or fewer than two lines in a direction.
        """
        own = columns.rows_where(rows, (rows["task"] == task).to_numpy())
        table = own.pivot(index="y", columns="x", values=metric)  # [Y, X]
        if min(table.shape) < 2 or table.isna().to_numpy().any():
            gaps = int(table.isna().to_numpy().sum())
            raise EvaluationError(
                "cannot draw a plane: the rows do not make a grid",
                expected="a value at every crossing of two x and two y at least",
                got=f"{len(own)} rows of {task} at {table.shape[1]} x and {table.shape[0]} y, {gaps} crossings empty",
                remedy="pass the table as evaluate_plane or evaluate_surface made it",
            )
        label = profile_table.value_label(own, metric=metric)
        x, y = (axis.to_numpy(dtype=float) for axis in (table.columns, table.index))
        return cls(task, metric, x, y, table.to_numpy(dtype=float), drawn, label)

    @property
    def aspect(self) -> float:
        """Height over width of the panel: that of the grid, within bounds."""
        ratio = float(np.ptp(self.y) / np.ptp(self.x))
        return float(np.clip(ratio, 1 / _MOST_UNEQUAL, _MOST_UNEQUAL / 1.5))

    def levels(self) -> np.ndarray:
        """About ten round levels, increasing; losses end where the scale does, below the highest of the grid."""
        low, high = float(self.values.min()), float(self.values.max())
        if self.metric == "loss" and len(self.drawn):
            rise = float(self._nearest().max()) - low
            high = min(high, low + _RISE * rise) if rise > 0 else high
        if not high > low:
            high = low + max(abs(low), 1.0) / 20
        return np.unique(MaxNLocator(nbins=10, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))

    def _nearest(self) -> np.ndarray:
        """The values at the grid points next to what is drawn in, `[points]`."""
        i, j = (
            np.abs(self.drawn[axis].to_numpy(dtype=float)[:, None] - lines).argmin(axis=1)
            for axis, lines in (("y", self.y), ("x", self.x))
        )
        return self.values[i, j]


def draw_panel(ax: Axes, panel: Panel, *, unit: str) -> None:
    """Contours, colour bar, path, points and labels."""
    levels = panel.levels()
    beyond = bool(panel.values.max() > levels[-1])
    with matplotlib.rc_context({"contour.negative_linestyle": "solid"}):
        filled = ax.contourf(
            panel.x, panel.y, panel.values, levels, cmap=_COLOURS[panel.metric], extend="max" if beyond else "neither"
        )
        ax.contour(panel.x, panel.y, panel.values, levels, colors="white", linewidths=0.3, alpha=0.5)
    bar = ax.figure.colorbar(filled, ax=ax, label=panel.label, pad=0.02, aspect=18, ticks=levels[::2])
    bar.outline.set_visible(False)  # type: ignore[operator]  # a Spine
    for _, own in _paths(panel.drawn):
        ax.plot(own["x"], own["y"], color="white", linewidth=1.2, path_effects=_CASING, zorder=4)
    for point, marker in _marked(panel.drawn):
        ax.plot([point.x], [point.y], **_look(marker), clip_on=False, zorder=5)
    ax.set_xlim(panel.x[0], panel.x[-1])
    ax.set_ylim(panel.y[0], panel.y[-1])
    ax.set_box_aspect(panel.aspect)
    ax.set_title(panel.task, loc="left")
    ax.set_xlabel(f"x ({unit})")
    ax.set_ylabel(f"y ({unit})")


def legend_handles(drawn: pd.DataFrame) -> list[Line2D]:
    """One entry for each path and point, with its distance from the plane where that is not nothing."""
    places = drawn[["x", "y"]].to_numpy(dtype=float)  # [points, 2]
    extent = float(np.ptp(places, axis=0).max()) if len(places) else 0.0
    handles = []
    for name, own in _paths(drawn):
        off = _off(float(own["distance"].to_numpy().max()), extent, most="at most ")
        label = profile_table.headline(name) + off
        handles.append(Line2D([], [], color="white", linewidth=1.2, path_effects=_CASING, label=label))
    for point, marker in _marked(drawn):
        label = point.name + _off(point.distance, extent)
        handles.append(Line2D([], [], **_look(marker), linestyle="none", label=label))
    return handles


def _paths(drawn: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The name and the positions of every path."""
    rows = columns.rows_where(drawn, (drawn["role"] == "path").to_numpy())
    return [(str(name), own) for name, own in rows.groupby("name", sort=False)]


def _marked(drawn: pd.DataFrame) -> list[tuple[Any, str]]:
    """The points that get a marker, each with its own."""
    found = columns.rows_where(drawn, (drawn["role"] != "path").to_numpy())
    return [(point, _MARKERS[i % len(_MARKERS)]) for i, point in enumerate(found.itertuples())]


def _look(marker: str) -> dict[str, Any]:
    """White with a dark edge: seen on every colour."""
    return {
        "marker": marker,
        "color": "white",
        "markersize": 5.5,
        "markeredgecolor": style.INK,
        "markeredgewidth": 0.8,
    }


def _off(distance: float, extent: float, *, most: str = "") -> str:
    """Words for a distance from the plane; nothing where it is rounding."""
    return f" ({most}{distance:.2g} off the plane)" if distance > 1e-4 * extent else ""
