"""Loss surfaces around one checkpoint in two random directions."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch

from modeconn.adapters.adapter import Adapter
from modeconn.errors import EvaluationError
from modeconn.evaluation.directions import Filters, default_filters, random_step
from modeconn.evaluation.evaluate import PointStore, Progress, check_tasks
from modeconn.evaluation.surface import POINT_COLUMNS, Surface, Sweep
from modeconn.models.point_model import PointModel
from modeconn.paths.chain import PolygonalChain
from modeconn.tasks.encoding import EncodingSettings


def evaluate_surface(
    point: Adapter,
    model: PointModel,
    tasks: Sequence[Any],
    *,
    radius: float = 1.0,
    num_points: int = 21,
    filters: Filters | None = None,
    seed: int = 0,
    split: str = "test",
    settings: EncodingSettings | None = None,
    check: bool = True,
    store: PointStore | None = None,
    progress: Progress | None = None,
) -> Surface:
    """Evaluate all tasks on a grid around a checkpoint, `theta + x d_1 + y d_2` with random filter-normalised d.

    Li 2018 (arXiv 1712.09913). Step 1 in x or y moves every filter by its own length; what a filter's length is, is
    said by `filters` (see `modeconn.evaluation.directions.random_step`). Two surfaces can be compared if they have the
    same filters and radius.

    Args:
        point: The checkpoint.
        model: The model.
        tasks: The tasks; their names must differ.
        radius: How far x and y go on each side, in steps.
        num_points: Lines of the grid in each direction; with an odd number the checkpoint itself is on it.
        filters: "update", "weights" or "factors"; by default "update" for adapters, "weights" for whole modules,
            "factors" where there is no weight update.
        seed: Of the directions.
        split: Which split of every task.
        settings: How examples become tokens.
        check: Whether to compare the checkpoint with plain PEFT.
        store: Keeps finished points, so that an interrupted evaluation goes on.
        progress: Called as `progress(done, total, what)` after every grid point.

    Returns:
        The surface; its x and y are steps, its control points the checkpoint and both moved ones.

    Raises:
        EvaluationError: If the grid or the filters cannot be had, the model is not deterministic, or a loss is not
            finite.
        ModelError: If the point does not fit the model.
        TaskError: If a task lacks the split or cannot be encoded.
    """
    check_tasks(tasks)
    lines = grid_lines(radius, num_points)
    model.check(point)
    filters = filters or default_filters(point)
    generator = torch.Generator().manual_seed(seed)
    moved = [
        random_step(point, model, filters=filters, generator=generator, name=f"{point.name} + direction {number}")
        for number in (1, 2)
    ]
    space = "factors" if filters == "factors" else "weights"
    chain = PolygonalChain([point, *moved], space=space, name=f"surface around {point.name}").on(model)
    encoded = [model.encode(task, split, settings) for task in tasks]
    sweep = Sweep(chain, model, encoded, chain.name, f"filter-normalised step, {filters}", store, progress)
    checks = {**sweep.checks([point], against_peft=check), "filters": filters, "seed": seed}
    drawn = pd.DataFrame([(point.name, "point", float("nan"), 0.0, 0.0, 0.0)], columns=list(POINT_COLUMNS))
    return Surface(sweep.frame((lines, lines), _rows), drawn, checks)


def _rows(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Coefficients of the checkpoint and both moved points, `[N], [N] -> [N, 3]`."""
    return torch.stack([1 - x - y, x, y], dim=1)


def grid_lines(radius: float, num_points: int) -> torch.Tensor:
    """Positions of a grid's lines around 0, `[num_points]`, float64, symmetric.

    Args:
        radius: How far they go on each side.
        num_points: How many there are.

    Raises:
        EvaluationError: If there is no such grid.
    """
    if not 0 < radius < float("inf") or num_points < 2:
        raise EvaluationError(
            "no grid around the checkpoint",
            expected="a radius above 0 and two lines or more in each direction",
            got=f"radius={radius}, num_points={num_points}",
            remedy="give radius=1.0 and num_points=21",
        )
    half = torch.linspace(-radius, radius, num_points, dtype=torch.float64)
    return (half - half.flip(0)) / 2  # exactly symmetric, and exactly 0 in the middle
