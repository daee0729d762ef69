"""What stands on one panel of a profile: lines, ends, bands, baselines, the mean, the best t, the titles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from . import band_rows, columns, lettering, profile_table, style
from .profile_table import Metric

Baseline = Literal["chord", "mean"]
BASELINES: Mapping[Baseline | None, str] = {"chord": "chord between the ends", "mean": "mean of the ends", None: ""}

AXES_HEIGHT = 1.75  # inches, without labels
LABELS_WIDTH, LABELS_HEIGHT = 0.6, 0.42  # inches that ticks and axis labels take


@dataclass(frozen=True)
class Panel:
    """One path's checked rows and how they are to be drawn.

    Attributes:
        rows: One path's rows, from `profile_table.ordered`.
        metric: "loss" or "score".
        baseline: What a barrier is measured from, or None.
        chosen: The tasks of the mean.
        looks: Each task's colour and marker.
        bands: The path's simultaneous bands from `band_rows.over_profile`, or None.
    """

    rows: pd.DataFrame
    metric: Metric
    baseline: Baseline | None
    chosen: Sequence[str]
    looks: Mapping[str, style.Look]
    bands: pd.DataFrame | None = None

    @property
    def has_band(self) -> bool:
        """Whether any row has both ends of an interval."""
        sides = [f"{self.metric}_low", f"{self.metric}_high"]
        present = all(side in self.rows for side in sides)
        return present and bool(np.isfinite(self.rows[sides].to_numpy()).all(axis=1).any())


def draw_panel(ax: Axes, panel: Panel, *, limits: tuple[float, float] | None = None) -> None:
    """Everything inside the axes, their labels, and the note of the best t; no title, no legend.

    Args:
        ax: Where to draw.
        panel: What to draw.
        limits: Of the vertical axis, in the metric's unit; by default those that fit the panel.
    """
    for task, one in panel.rows.groupby("task", sort=False):
        _draw_task(ax, one, panel, str(task))
    _draw_mean(ax, panel)
    position_axis(ax)
    ax.set_ylim(*(limits or limits_of([panel])))
    ax.set_ylabel(profile_table.value_label(panel.rows, metric=panel.metric))


def position_axis(ax: Axes) -> None:
    """The horizontal axis of positions, from 0 to 1."""
    ax.set_xlim(-0.03, 1.03)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    ax.set_xlabel("position t on the path")


def limits_of(panels: Sequence[Panel]) -> tuple[float, float]:
    """Limits of the vertical axis that hold every value, interval and band of panels of one metric."""
    metric = panels[0].metric
    sides = {side: f"{metric}_{side}" for side in ("low", "high")}
    bands = [
        pd.DataFrame({name: panel.bands[side].to_numpy() for side, name in sides.items()})
        for panel in panels
        if panel.bands is not None
    ]
    return profile_table.limits(pd.concat([*(panel.rows for panel in panels), *bands]), metric=metric)


def _draw_task(ax: Axes, one: pd.DataFrame, panel: Panel, task: str) -> None:
    """One task's line, its ends, band and baseline."""
    t, value = one["t"].to_numpy(), one[panel.metric].to_numpy()
    look = panel.looks[task]
    colour = look.colour if task in panel.chosen else style.pale(look.colour)
    if panel.has_band:
        low, high = (one[f"{panel.metric}_{side}"].to_numpy() for side in ("low", "high"))
        ax.fill_between(t, low, high, color=colour, alpha=0.2, linewidth=0, zorder=1)
    if panel.bands is not None:
        _draw_band(ax, columns.rows_where(panel.bands, (panel.bands["task"] == task).to_numpy()), colour)
    ends = slice(None, None, max(len(t) - 1, 1))
    if panel.baseline is not None:
        level = value[ends] if panel.baseline == "chord" else [value[ends].mean()] * len(t[ends])
        ax.plot(t[ends], level, color=colour, linestyle=":", linewidth=0.8, zorder=1.5)
    edge = {"marker": look.marker, "markeredgecolor": "white", "markeredgewidth": 0.4}
    every = max(1, (len(t) - 1) // 10)
    ax.plot(t, value, color=colour, markevery=every, markersize=3.6, zorder=2, label=task, **edge)
    ax.plot(t[ends], value[ends], color=colour, linestyle="none", markersize=6, zorder=3, clip_on=False, **edge)


def _draw_band(ax: Axes, band: pd.DataFrame, colour: str | tuple[float, float, float]) -> None:
    """A task's simultaneous band: its edges are drawn, so that it is told from the intervals inside it."""
    t, low, high = (band[column].to_numpy() for column in ("t", "low", "high"))
    ax.fill_between(t, low, high, color=colour, alpha=0.1, linewidth=0, zorder=0.8)
    for edge in (low, high) if len(t) else ():  # a task with few examples has no band
        ax.plot(t, edge, color=colour, linewidth=0.5, alpha=0.8, zorder=1)


def _draw_mean(ax: Axes, panel: Panel) -> None:
    """The mean of the chosen tasks, where there are several, and the best t, marked and written."""
    curve = profile_table.mean_curve(panel.rows, panel.chosen, metric=panel.metric)
    subject = f"mean {panel.metric}" if len(panel.chosen) > 1 else panel.metric
    if len(panel.chosen) > 1:
        label = profile_table.mean_label(panel.chosen, profile_table.names(panel.rows, "task"))
        line = {"color": style.INK, "linestyle": "--", "linewidth": 1.6, "label": label}
        ax.plot(curve.index.to_numpy(), curve.to_numpy(), zorder=4, **line)
    found = profile_table.best(curve, metric=panel.metric)
    if found is None:
        _note(ax, 0.5, f"no best t: {subject} equal everywhere")
        return
    t, value = found
    ax.axvline(t, color=style.GREY, linewidth=0.6, zorder=0.5)
    star = {"marker": "*", "markersize": 10, "markeredgecolor": "white", "markeredgewidth": 0.6}
    ax.plot([t], [value], color=style.INK, zorder=5, clip_on=False, **star)
    _note(ax, t, f"best {subject} at t = {t:.2f}")


def _note(ax: Axes, t: float, text: str) -> None:
    """A line of text right above the axes at t, kept between their sides."""
    side = "left" if t < 0.3 else "right" if t > 0.7 else "center"
    _above(ax, (t, 2.0), text, side=side)


def _above(ax: Axes, place: tuple[float, float], text: str, *, side: str) -> None:
    """Text over the axes: at t, and so many points above their upper edge."""
    t, points = place
    ax.annotate(
        text,
        (t, 1),
        (0, points),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha=side,
        va="bottom",
        color=style.GREY,
        annotation_clip=False,
    )


def _title_lines(rows: pd.DataFrame, *, width: float) -> tuple[str, str]:
    """The path, and what the numbers hold for, each wrapped to `width` inches."""
    path = profile_table.headline(profile_table.names(rows, "path")[0])
    return (
        lettering.wrapped(path, width=width, size=lettering.title_size(), weight="bold"),
        lettering.wrapped(profile_table.conditions(rows), width=width, size=lettering.text_size()),
    )


def title_height(rows: pd.DataFrame, *, width: float) -> float:
    """Inches that title, conditions and note take above the axes, in lines of at most `width` inches."""
    title, conditions = _title_lines(rows, width=width)
    lines = (title.count("\n") + 1) * lettering.title_size() + (conditions.count("\n") + 1) * lettering.text_size()
    return (lines * lettering.LINE_HEIGHT + _note_points()) / 72


def note_height() -> float:
    """Inches that the note of the best t takes above the axes."""
    return _note_points() / 72


def _note_points() -> float:
    """Points from the axes to what stands above the note."""
    return 1.7 * lettering.text_size()


def draw_title(ax: Axes, rows: pd.DataFrame, *, width: float) -> None:
    """The path as title and, under it, space, split and number of examples.

    Args:
        ax: The axes, already drawn on.
        rows: One path's rows.
        width: Inches that a line may take.
    """
    title, conditions = _title_lines(rows, width=width)
    depth = (conditions.count("\n") + 1) * lettering.text_size() * lettering.LINE_HEIGHT
    ax.set_title(title, loc="left", pad=_note_points() + depth)
    _above(ax, (ax.get_xlim()[0], _note_points()), conditions, side="left")


def legend_handles(panels: Sequence[Panel]) -> list[Line2D | Patch]:
    """One entry per task of any panel, then the mean, the baseline and the band, as far as they are drawn."""
    first = panels[0]
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=look.colour, marker=look.marker, markersize=4, label=task)
        for task, look in first.looks.items()
    ]
    labels = {profile_table.mean_label(p.chosen, profile_table.names(p.rows, "task")) for p in panels}
    if any(len(panel.chosen) > 1 for panel in panels):
        label = labels.pop() if len(labels) == 1 else profile_table.MIXED_MEAN
        handles.append(Line2D([], [], color=style.INK, linestyle="--", linewidth=1.6, label=label))
    if first.baseline is not None:
        label = BASELINES[first.baseline]
        handles.append(Line2D([], [], color=style.GREY, linestyle=":", linewidth=0.8, label=label))
    if any(panel.has_band for panel in panels):
        label = "95 % interval" if first.bands is None else "95 % interval at one t"
        handles.append(Patch(facecolor=style.GREY, alpha=0.3, linewidth=0, label=label))
    if first.bands is not None:
        label = band_rows.band_label(first.bands)
        handles.append(Patch(facecolor="#ebebeb", edgecolor=style.GREY, linewidth=0.6, label=label))
    return handles
