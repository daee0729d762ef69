"""Curvature of tasks' losses: at points in the adapter's own coordinates, and along a path."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from modeconn.adapters.adapter import Adapter
from modeconn.evaluation.curvature import loss_curvature
from modeconn.evaluation.evaluate import check_tasks, evaluate_path
from modeconn.evaluation.hessian import hessian_extremes, hessian_trace
from modeconn.evaluation.local_loss import LocalLoss
from modeconn.evaluation.progress import Progress
from modeconn.evaluation.records import PointStore
from modeconn.evaluation.second_order_settings import SecondOrderSettings
from modeconn.evaluation.sharpness import epsilon_sharpness
from modeconn.models.point_model import PointModel
from modeconn.paths.lengths import LengthTable
from modeconn.paths.path import Path
from modeconn.tasks.encoding import EncodingSettings

COLUMNS = (
    "point", "task", "split", "loss", "trace", "trace_error", "top", "top_error", "bottom", "bottom_error", "sharpness",
    "highest_loss", "box", "num_parameters", "num_examples", "num_products",
)  # fmt: skip
_TOLERANCE = 0.0025  # of the range of the loss: how well its curve is known between the positions
_POSITIONS = 41


def second_order(
    points: Sequence[Adapter],
    model: PointModel,
    tasks: Sequence[Any],
    *,
    split: str = "test",
    settings: SecondOrderSettings | None = None,
    encoding: EncodingSettings | None = None,
    store: PointStore | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Hessian trace, extreme eigenvalues and sharpness of every task's mean loss at points.

    The coordinates are the adapter's own tensors (see `LocalLoss`): of two points that differ in rank, gauge or
    scaling the numbers are not in the same unit.

    Args:
        points: Points with LoRA factors; every one is checked before the first is measured.
        model: The model, in float32 or wider.
        tasks: The tasks; their names differ.
        split: Which of their splits.
        settings: What is measured, and how exactly.
        encoding: How examples become tokens.
        store: Keeps what is finished.
        progress: Called as `progress(done, total, what)` after every point and task.

    Returns:
        One row for each point and task: point, task, split, loss (nats per token, per example for classifiers), trace
        with its standard error (that of the random probes, not of the choice of examples), top and bottom (largest
        and smallest eigenvalue; an eigenvalue lies within the error beside each), sharpness, highest_loss (in the
        box), box, num_parameters, num_examples and num_products. What was not asked for is missing.

    Raises:
        EvaluationError: If an update of a point has no factors, or a number is not finite.
        ModelError: If a point does not fit the model.
        TaskError: If a task lacks the split or cannot be encoded.

    Example:
        Of two adapters `a` and `b` on a model and its tasks::

            found = second_order([a, b], model, tasks, settings=SecondOrderSettings(num_examples=32))
            found[["point", "task", "trace", "top", "bottom", "sharpness"]]
    """
    check_tasks(tasks)
    settings = settings or SecondOrderSettings()
    losses = [(point, _loss(point, model, task, split, settings, encoding)) for point in points for task in tasks]
    rows = []
    for number, (point, loss) in enumerate(losses):
        key = _key(point, loss, settings)
        row = store.load(key) if store else None
        if row is None:
            row = pd.DataFrame([_measured(point, loss, settings)])
            if store:
                store.save(key, row)
        rows.append(row)
        if progress is not None:
            progress(number + 1, len(losses), "curvature at points")
    return pd.concat(rows, ignore_index=True).reindex(columns=list(COLUMNS))


def curvature_along(
    path: Path,
    model: PointModel,
    tasks: Sequence[Any],
    *,
    split: str = "test",
    encoding: EncodingSettings | None = None,
    store: PointStore | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Loss, slope and curvature of every task along a path, from a profile that is resolved to 0.25 % of its range.

    Args:
        path: The path.
        model: The model.
        tasks: The tasks; all examples of the split are read.
        split: Which of their splits.
        encoding: How examples become tokens.
        store: Keeps finished points.
        progress: Called as `progress(done, total, what)` after every position.

    Returns:
        path, space, task, split, t (41 positions from 0 to 1), distance (along the path), loss (nats), slope
        (dL / ds, nats per unit of length in the path's space) and curvature (d^2 L / ds^2; see `loss_curvature`).

    Raises:
        EvaluationError: As `evaluate_path`.
        PathError: If the path is spherical or has no length.
    """
    options: dict[str, Any] = {"split": split, "settings": encoding, "store": store, "progress": progress}
    profile = evaluate_path(path, model, tasks, tolerance=_TOLERANCE, **options)
    bound = path.on(model)
    t = np.linspace(0.0, 1.0, _POSITIONS)
    lengths = LengthTable(bound)
    distance = np.array([lengths.up_to(one) for one in t])
    found = []
    for task in tasks:
        curve = profile.curve(task.name)
        second = loss_curvature(curve, bound, t)
        found.append(pd.DataFrame({"task": task.name, "t": t, "distance": distance, "loss": curve(t), "c": second}))
    del found
    raise NotImplementedError


def _loss(
    point: Adapter, model: PointModel, task: Any, split: str, settings: SecondOrderSettings,  # noqa: ANN401
    encoding: EncodingSettings | None,
) -> LocalLoss:  # fmt: skip
    """The loss around a point on the examples that are asked for."""
    numbers = {"max_examples": settings.num_examples, "batch_size": settings.batch_size}
    return LocalLoss.at(point, model, task, split=split, settings=encoding, **numbers)
