"""Several profiles side by side: one panel per path and metric."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from modeconn.errors import RunError, listed

from . import band_rows, columns, profile_panel, profile_table, style
from .legend import legend_below, legend_height
from .profile_panel import Baseline, Panel
from .profile_table import Metric

_ABREAST = 3  # more would leave no room for a path's name on a page's width


def plot_profiles(
    frame: pd.DataFrame,
    *,
    metric: Metric | Sequence[Metric] = "loss",
    split: str | None = None,
    space: str | None = None,
    baseline: Baseline | None = "chord",
    mean_of: Mapping[str, Sequence[str]] | None = None,
    bands: pd.DataFrame | None = None,
    width: float = style.PAGE_WIDTH,
) -> Figure:
    """Small multiples of `plot_profile`: the paths in the order of the table, one scale for each metric.

    Up to three paths stand abreast, and each metric has a row of its own; the metrics of a single path stand
    side by side. A task keeps its colour and marker in all panels.

    Args:
        frame: As for `plot_profile`, with one or several paths.
        metric: "loss", "score", or both.
        split: Which split, where the table holds several.
        space: Which space, where the table holds several.
        baseline: What a barrier is measured from: "chord", "mean", or None for no baseline drawn.
        mean_of: For a path the tasks of its mean, all by default; the others are drawn pale.
        bands: Simultaneous bands of every path and metric drawn, from `Profile.bands`; with several metrics those of
            all of them, concatenated.
        width: Inches: `PAGE_WIDTH` or `COLUMN_WIDTH`.

    Returns:
        The figure; its `axes` are the panels, row by row. pyplot does not know it.

    Raises:
        EvaluationError: The table lacks columns, rows or numbers, or says a thing twice.
        RunError: A setting that is unknown, or several splits or spaces and none chosen.
    """
    columns.require_choice("baseline", baseline, tuple(profile_panel.BASELINES))
    metrics: Sequence[Metric] = (metric,) if isinstance(metric, str) else metric
    if not metrics:
        columns.require_choice("metric", metric, ("loss", "score"))
    table = frame
    for one in metrics:
        table = profile_table.checked_table(table, metric=one)
    rows = profile_table.in_setting(table, split=split, space=space)
    panels = _panels(rows, metrics, baseline=baseline, mean_of=mean_of or {}, bands=bands)
    with style.paper_style():
        return _draw(_grid(panels), width=width)


def _panels(
    table: pd.DataFrame,
    metrics: Sequence[Metric],
    *,
    baseline: Baseline | None,
    mean_of: Mapping[str, Sequence[str]],
    bands: pd.DataFrame | None,
) -> list[list[Panel]]:
    """The panels: a list for each path, in it one panel for each metric."""
    paths = profile_table.names(table, "path")
    if unknown := set(mean_of) - set(paths):
        raise RunError(
            "cannot draw the means of these paths",
            expected=f"paths out of {listed(paths)}",
            got=listed(unknown),
            remedy="pass mean_of= with the paths as they stand in the column path",
        )
    looks = style.looks(profile_table.names(table, "task"))
    panels = []
    for path in paths:
        rows = profile_table.ordered(profile_table.of_path(table, path))
        chosen = profile_table.chosen_tasks(profile_table.names(rows, "task"), mean_of.get(path))
        drawn = {metric: band_rows.over_profile(bands, rows, metric=metric) for metric in metrics}
        panels.append([Panel(rows, metric, baseline, chosen, looks, drawn[metric]) for metric in metrics])
    return panels


def _grid(panels: Sequence[Sequence[Panel]]) -> list[list[Panel]]:
    """Rows of panels: paths abreast with their metrics beneath, or one path's metrics side by side."""
    if len(panels) == 1:
        return [list(panels[0])]
    num_rows = -(-len(panels) // _ABREAST)
    abreast = -(-len(panels) // num_rows)
    blocks = [panels[i : i + abreast] for i in range(0, len(panels), abreast)]
    return [list(row) for block in blocks for row in zip(*block, strict=True)]


def _draw(grid: Sequence[Sequence[Panel]], *, width: float) -> Figure:
    """The panels on a new figure, one legend below."""
    panels = [panel for row in grid for panel in row]
    handles = profile_panel.legend_handles(panels)
    room = _title_room(grid, width=width)
    figure = style.new_figure(width, _height(grid, room=room) + legend_height(handles, width=width))
    axes = figure.subplots(len(grid), len(grid[0]), squeeze=False)
    metrics = {panel.metric for panel in panels}
    limits = {m: profile_panel.limits_of([panel for panel in panels if panel.metric == m]) for m in metrics}
    for i, row in enumerate(grid):
        for ax, panel in zip(axes[i], row, strict=False):
            profile_panel.draw_panel(ax, panel, limits=limits[panel.metric])
            if panel.metric == panels[0].metric:
                profile_panel.draw_title(ax, panel.rows, width=room)
        for ax in axes[i][len(row) :]:
            ax.remove()
    _share_labels(axes, grid)
    legend_below(figure, handles)
    style.freeze(figure)
    return figure


def _title_room(grid: Sequence[Sequence[Panel]], *, width: float) -> float:
    """Inches that a title may take: its column, or the whole width over one path's panels."""
    paths = {profile_table.names(panel.rows, "path")[0] for panel in grid[0]}
    return (width - profile_panel.LABELS_WIDTH) / len(paths) - 0.05


def _height(grid: Sequence[Sequence[Panel]], *, room: float) -> float:
    """Inches for all rows: axes of one height, a title where a path's first metric stands, else the note."""
    first = grid[0][0].metric
    titles = [
        max(profile_panel.title_height(panel.rows, width=room) for panel in row)
        if row[0].metric == first
        else profile_panel.note_height()
        for row in grid
    ]
    return len(grid) * (profile_panel.AXES_HEIGHT + profile_panel.LABELS_HEIGHT) + sum(titles)


def _share_labels(axes: np.ndarray, grid: Sequence[Sequence[Panel]]) -> None:
    """Removes the labels that a neighbour on the left, or a panel below, says too."""
    for i, row in enumerate(grid):
        for j, panel in enumerate(row):
            if j > 0 and row[j - 1].metric == panel.metric:
                axes[i][j].set_ylabel("")
                axes[i][j].tick_params(labelleft=False)
            if i + 1 < len(grid) and j < len(grid[i + 1]):
                axes[i][j].set_xlabel("")
