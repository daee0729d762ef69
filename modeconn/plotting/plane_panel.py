"""What stands on one panel of a plane: contours, the colour bar, points and a path."""

from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from modeconn.errors import EvaluationError

from . import columns, profile_table, style, task_panels

Metric = Literal["loss", "score"]
_COLOURS = {"loss": "viridis", "score": "cividis"}
_MOST_UNEQUAL = 2.0  # wider or higher grids get a scale for each direction
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
        label = profile_table.value_label(own, metric=metric).removeprefix("mean ")
        x, y = (axis.to_numpy(dtype=float) for axis in (table.columns, table.index))
        return cls(task, metric, x, y, table.to_numpy(dtype=float), drawn, label)

    @property
    def aspect(self) -> float:
        """Height over width of the panel: that of the grid, within bounds."""
        ratio = float(np.ptp(self.y) / np.ptp(self.x))
        return float(np.clip(ratio, 1 / _MOST_UNEQUAL, 1.2))

    def levels(self) -> np.ndarray:
        """About ten levels, increasing; losses end where the scale does, below the highest of the grid.

        A difference of next to nothing is not blown up: the span is at least a tenth for scores and a twentieth of the
        lowest loss. Losses that span more than a factor of four have levels of equal ratios.
        """
        low, high = float(self.values.min()), float(self._between().max())
        least = 0.1 if self.metric == "score" else abs(low) / 20 or 1.0
        high = max(high, low + least)
        floor = max(low, high / 1000)
        if self.metric == "loss" and low >= 0 and high > 4 * floor:
            return np.unique([low if low < floor else 0.99 * low, *np.geomspace(floor, high, 11)[1:]])
        return np.unique(MaxNLocator(nbins=10, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))

    def _between(self) -> np.ndarray:
        """What the colours must tell apart: losses in the rectangle that holds what is drawn in, all scores."""
        if self.metric == "score" or len(self.drawn) < 2:
            return self.values
        rows, inside = (_inside(lines, self.drawn[axis].to_numpy(dtype=float)) for axis, lines in self._axes())
        return self.values[np.ix_(rows, inside)]

    def _axes(self) -> tuple[tuple[str, np.ndarray], tuple[str, np.ndarray]]:
        """The grid's lines by the name of their direction, rows first."""
        return ("y", self.y), ("x", self.x)


def draw_panel(ax: Axes, panel: Panel, *, unit: str, width: float) -> None:
    """Contours, colour bar, path, points and labels; a title in lines of at most `width` inches."""
    levels = panel.levels()
    extend = "max" if panel.values.max() > levels[-1] else "neither"
    colours = matplotlib.colormaps[_COLOURS[panel.metric]]
    # One colour a level, however far apart the levels are.
    norm = BoundaryNorm(levels, colours.N, extend=extend)
    filled = ax.contourf(panel.x, panel.y, panel.values, levels, cmap=colours, norm=norm, extend=extend)
    ax.contour(panel.x, panel.y, panel.values, levels, colors="white", linewidths=0.3, alpha=0.5, linestyles="solid")
    beside = ax.inset_axes((1.03, 0, 0.045, 1))
    bar = ax.figure.colorbar(filled, cax=beside, label=panel.label, spacing="uniform", ticks=levels[::2])
    beside.set_yticks(levels[::2], _told_apart(levels[::2]))
    beside.minorticks_off()
    beside.tick_params(length=0)
    bar.outline.set_visible(False)  # type: ignore[operator]  # a Spine
    for _, own in _paths(panel.drawn):
        ax.plot(own["x"], own["y"], color="white", linewidth=1.2, path_effects=_CASING, zorder=4)
    for point, marker in _marked(panel.drawn):
        ax.plot([point.x], [point.y], **_look(marker), clip_on=False, zorder=5)
    ax.set_xlim(panel.x[0], panel.x[-1])
    ax.set_ylim(panel.y[0], panel.y[-1])
    ax.set_box_aspect(panel.aspect)
    task_panels.title(ax, panel.task, width=width)
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


def _inside(lines: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The numbers of the lines between the outermost places, and of one more on each side."""
    first, last = np.searchsorted(lines, [places.min(), places.max()])
    return np.arange(max(first - 1, 0), min(last + 1, len(lines)))


def _told_apart(levels: np.ndarray) -> list[str]:
    """The levels as texts, with as many digits as it takes to tell them apart."""
    texts = [[f"{level:.{digits}g}" for level in levels] for digits in range(2, 8)]
    return next((found for found in texts if len(set(found)) == len(levels)), texts[-1])


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
