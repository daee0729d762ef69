"""Evaluating a plane through three points: the loss and the score of every task on a grid."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch

from modeconn.adapters.adapter import Adapter
from modeconn.evaluation.evaluate import PointStore, Progress, check_tasks, grid
from modeconn.evaluation.surface import POINT_COLUMNS, Surface, Sweep, refuse_two_heads
from modeconn.models.point_model import PointModel
from modeconn.paths.path import Path
from modeconn.paths.plane import Plane, Projection
from modeconn.tasks.encoding import EncodingSettings

_IN_PLANE = 1e-4  # of the extent: a control point nearer to the plane counts as in it


def evaluate_plane(
    plane: Plane,
    model: PointModel,
    tasks: Sequence[Any],
    *,
    num_points: int = 21,
    margin: float = 0.2,
    path: Path | None = None,
    path_points: int = 41,
    others: Sequence[Adapter] = (),
    split: str = "test",
    settings: EncodingSettings | None = None,
    check: bool = True,
    store: PointStore | None = None,
    progress: Progress | None = None,
) -> Surface:
    """Evaluate all tasks on a grid in a plane, and project points and a path onto it.

    Garipov 2018 (arXiv 1802.10026): a grid of 21 by 21 with a margin of 0.2 on each side. Every grid point sees the
    same batches in the same order. The grid covers the control points that lie in the plane, and
    the path and the other points where they fall.

    Args:
        plane: Through three checkpoints (`Plane.through`), or a curve and its ends (`Plane.along`).
        model: The model.
        tasks: The tasks; their names must differ.
        num_points: Lines of the grid in each direction.
        margin: What is added on each side, as a share of the extent.
        path: A path to project; give the curve itself for `Plane.along(curve)`.
        path_points: Evenly spaced positions at which it is projected.
        others: More checkpoints to project.
        split: Which split of every task.
        settings: How examples become tokens.
        check: Whether to compare the checkpoints that span the plane with plain PEFT.
        store: Keeps finished points, so that an interrupted evaluation goes on.
        progress: Called as `progress(done, total, what)` after every grid point.

    Returns:
        The surface; x and y are L2 distances along the plane's orthonormal directions.

    Raises:
        EvaluationError: If the model is not deterministic, a checkpoint is not what PEFT loads, or a loss is not
            finite.
        ModelError: If a point does not fit the model.
        PathError: If the grid, the path or another point cannot be placed.
        TaskError: If a task lacks the split or cannot be encoded.

    Example:
        Of three adapter folders and a curve that was fitted between two of them::

            points = [Adapter.from_pretrained(folder) for folder in folders]
            model = AdapterModel.from_pretrained(base, adapters=points)
            surface = evaluate_plane(Plane.through(points), model, tasks)
            plot_plane(surface.frame, surface.points)
            evaluate_plane(Plane.along(curve), model, tasks, path=curve)
    """
    check_tasks(tasks)
    refuse_two_heads(plane.path)
    for point in [*plane.path.points, *others]:
        model.check(point)
    on_path = path is plane.path
    plane = replace(plane, path=plane.path.on(model))
    path = plane.path if on_path else path and path.on(model)
    drawn = _drawn(plane, path, path_points, [other.within(model) for other in others])
    lines = plane.grid(num_points, margin=margin, around=_covered(drawn))
    encoded = [model.encode(task, split, settings) for task in tasks]
    sweep = Sweep(plane.path, model, encoded, _name(plane), "L2 distance", store, progress)
    checks = sweep.checks(_checkpoints(plane), against_peft=check)
    return Surface(sweep.frame(lines, plane.coefficients), drawn, checks)


def _drawn(plane: Plane, path: Path | None, path_points: int, others: Sequence[Adapter]) -> pd.DataFrame:
    """Control points, positions of the path and other points, where they fall and how far off the plane."""
    control = plane.path.points
    tables = [_table(plane.locate(torch.eye(len(control))), [point.name for point in control], "point")]
    if path is not None:
        t = grid(path_points).tolist()
        if path is plane.path:
            found = plane.locate(path.coefficients(torch.tensor(t, dtype=torch.float64)))
        else:
            found = plane.project([path(position) for position in t])
        tables.append(_table(found, [path.name] * len(t), "path").assign(t=t))
    if others:
        tables.append(_table(plane.project(others), [point.name for point in others], "other"))
    return pd.concat(tables, ignore_index=True).reindex(columns=list(POINT_COLUMNS))


def _table(found: Projection, names: Sequence[str], role: str) -> pd.DataFrame:
    """Projections as rows."""
    places = {"x": found.x.numpy(), "y": found.y.numpy(), "distance": found.distance.numpy()}
    return pd.DataFrame({"name": list(names), "role": role, "t": float("nan"), **places})


def _covered(drawn: pd.DataFrame) -> Projection | None:
    """What the grid must cover: the path, other points, and control points in the plane; not bends far off it."""
    places = torch.tensor(drawn[["x", "y", "distance"]].to_numpy())  # [N, 3]
    extent = (places[:, :2].amax(dim=0) - places[:, :2].amin(dim=0)).max()
    in_plane = places[:, 2] <= _IN_PLANE * extent
    shown = places[in_plane | torch.tensor((drawn["role"] != "point").to_numpy())]
    return Projection(*shown.T) if len(shown) else None


def _checkpoints(plane: Plane) -> list[Adapter]:
    """The control points that are corners of the plane themselves; other corners are combinations."""
    rows = [row.nonzero().reshape(-1).tolist() for row in plane.corners]
    return [plane.path.points[row[0]] for row in rows if len(row) == 1]


def _name(plane: Plane) -> str:
    """What tables call the plane."""
    corners = [point.name for point in _checkpoints(plane)]
    return f"plane through {', '.join(corners)}" if len(corners) == 3 else f"plane along {plane.path.name}"
