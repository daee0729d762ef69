"""A plane or a surface: contours of the loss and of the score of every task, with points and a path drawn in."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from . import columns, plane_panel, style, task_panels
from .legend import legend_below, legend_height
from .plane_panel import Metric, Panel
from .profile_table import headline

_FIGURE = "a plane"
_NAMES = ("surface", "unit", "space", "task", "split")
_LABELS_WIDTH, _LABELS_HEIGHT = 1.0, 0.62  # inches that ticks, labels, the colour bar and a panel's title take


def plot_plane(
    frame: pd.DataFrame,
    points: pd.DataFrame | None = None,
    *,
    metric: Metric | Sequence[Metric] = ("loss", "score"),
    tasks: Sequence[str] | None = None,
    surface: str | None = None,
    width: float = style.PAGE_WIDTH,
) -> Figure:
    """Filled contours of every task on one grid: a column for each task, a row for each metric.

    Losses far outside would leave no colours for what lies between the points: the scale ends at the highest loss in
    the rectangle that holds all that is drawn in, and its bar in an arrow. Both directions have one scale where the
    grid is not much wider than high, or higher than wide.

    Args:
        frame: Columns surface, unit, space, task, split, x, y, num_examples, num_tokens, and loss (nats per scored
            token) or score (in [0, 1]) with metric, the score's name; a full grid of x and y for each task.
        points: What is drawn in: columns name, role ("path" for a line, else a marker), x, y, distance (from the
            plane; it stands in the legend).
        metric: "loss", "score", or both.
        tasks: Which tasks, all by default.
        surface: Which surface, where the table holds several.
        width: Inches: `PAGE_WIDTH` or `COLUMN_WIDTH`.

    Returns:
        The figure; the panels are the first of its `axes`, row by row. pyplot does not know it.

    Raises:
        EvaluationError: The table lacks columns, rows or numbers, or the grid has gaps.
        RunError: A setting that is unknown, or several surfaces and none chosen.
    """
    metrics: Sequence[Metric] = (metric,) if isinstance(metric, str) else metric
    rows = _checked(frame, metrics)
    for column, value in (("surface", surface), ("split", None), ("space", None)):
        rows = columns.pick(rows, column, value, figure=_FIGURE, remedy=f"pass the rows of one {column}")
    drawn = _checked_points(points)
    names = task_panels.chosen(rows, tasks, figure=_FIGURE)
    panels = {task: [Panel.of(rows, task, one, drawn) for one in metrics] for task in names}
    grid = [[panels[task][i] for task in block] for block in task_panels.in_rows(names) for i in range(len(metrics))]
    if len(names) == 1:
        grid = [panels[names[0]]]
    with style.paper_style():
        return _draw(grid, rows, drawn, width=width)


def _checked(frame: pd.DataFrame, metrics: Sequence[Metric]) -> pd.DataFrame:
    """The table with names as text and numbers as float64."""
    if not metrics:
        columns.require_choice("metric", tuple(metrics), ("loss", "score"))
    for one in metrics:
        columns.require_choice("metric", one, ("loss", "score"))
    named = [*_NAMES, *(["metric"] if "score" in metrics else [])]
    columns.require_columns(frame, [*named, "x", "y", *metrics, "num_examples", "num_tokens"], figure=_FIGURE)
    columns.require_names(frame, named, figure=_FIGURE)
    ranges = {"x": np.inf, "y": np.inf, "loss": np.inf, "score": 1.0, "num_examples": np.inf, "num_tokens": np.inf}
    numeric = [column for column in ranges if column in ("x", "y", "num_examples", "num_tokens", *metrics)]
    for column in numeric:
        low = {"score": 0.0, "num_examples": 1.0, "num_tokens": 1.0}.get(column, -np.inf)
        keys = ("task", "x", "y")
        columns.require_range(frame, column, figure=_FIGURE, keys=keys, low=low, high=ranges[column])
    columns.require_single(frame, ("surface", "space", "split", "task", "x", "y"), figure=_FIGURE)
    texts = {column: frame[column].astype(str) for column in named}
    return frame.assign(**texts, **{column: columns.numbers(frame, column) for column in numeric})


def _checked_points(points: pd.DataFrame | None) -> pd.DataFrame:
    """The points and the path, or none."""
    needed = ["name", "role", "x", "y", "distance"]
    if points is None or points.empty:
        return pd.DataFrame(columns=needed)
    columns.require_columns(points, needed, figure="the points of a plane")
    columns.require_names(points, ["name", "role"], figure="the points of a plane")
    for column in ("x", "y", "distance"):
        columns.require_range(points, column, figure="the points of a plane", keys=("name",), low=-np.inf, high=np.inf)
    return points.assign(name=points["name"].astype(str))


def _draw(grid: Sequence[Sequence[Panel]], rows: pd.DataFrame, drawn: pd.DataFrame, *, width: float) -> Figure:
    """The panels on a new figure, one legend below."""
    across = len(grid[0])
    aspect = grid[0][0].aspect
    room = max(width / across - _LABELS_WIDTH, 0.5)
    titles = task_panels.title_height([panel.task for row in grid for panel in row], width=room)
    first = rows.iloc[0]
    conditions = f"{first['space']} space, {first['split']} split, {task_panels.examples(rows)}"
    lines = [headline(first["surface"]), conditions]
    text = task_panels.head(lines, width=width)
    handles = plane_panel.legend_handles(drawn)
    height = len(grid) * (room * aspect + titles + _LABELS_HEIGHT) + task_panels.head_height(text)
    figure = style.new_figure(width, height + (legend_height(handles, width=width) if handles else 0))
    axes = figure.subplots(len(grid), across, squeeze=False)
    for i, row in enumerate(grid):
        for j, panel in enumerate(row):
            plane_panel.draw_panel(axes[i][j], panel, unit=first["unit"], width=room)
            if j > 0:
                axes[i][j].set_ylabel("")
        task_panels.without_rest(axes[i], len(row))
    task_panels.draw_head(figure, text)
    if handles:
        legend_below(figure, handles)
    style.freeze(figure)
    return figure
