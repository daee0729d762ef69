"""Curvature of tasks' losses at points, in the adapter's own coordinates, as one table."""

import hashlib
import time
from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch

from modeconn.adapters.adapter import Adapter
from modeconn.evaluation.evaluate import check_tasks
from modeconn.evaluation.hessian import hessian_extremes, hessian_trace
from modeconn.evaluation.local_loss import LocalLoss
from modeconn.evaluation.progress import Progress
from modeconn.evaluation.records import PointStore
from modeconn.evaluation.second_order_settings import SecondOrderSettings
from modeconn.evaluation.sharpness import epsilon_sharpness
from modeconn.models.point_model import PointModel
from modeconn.models.quantised import quantization_of
from modeconn.tasks.encoding import EncodingSettings

COLUMNS = (
    "point", "task", "split", "loss", "trace", "trace_error", "top", "top_error", "bottom", "bottom_error", "sharpness",
    "highest_loss", "box", "num_parameters", "num_examples", "num_products",
)  # fmt: skip


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
    scaling the numbers are not in one unit.

    Args:
        points: Points with LoRA factors, or a bare module's; all are checked before the first is measured.
        model: The model, in float32 or wider.
        tasks: The tasks; their names differ.
        split: Which of their splits.
        settings: What is measured, and how exactly.
        encoding: How examples become tokens.
        store: Keeps what is finished.
        progress: Called as `progress(done, total, what)` after every point and task.

    Returns:
        One row for each point and task: point, task, split, loss (nats per token, per example for classifiers), trace
        with its standard error (that of the random probes, not of the choice of examples), top and bottom (largest and
        smallest eigenvalue; there is one within the error beside each), sharpness, highest_loss (in the box), box,
        num_parameters, num_examples and num_products. What was not asked for is missing.

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
    options: dict[str, Any] = {"split": split, "settings": settings, "encoding": encoding}
    losses = [(point, loss_at(point, model, task, **options)) for point in points for task in tasks]
    rows = []
    for number, (point, loss) in enumerate(losses):
        key = _key(point, loss, settings) if store is not None else ""
        row = store.load(key) if store is not None else None
        if row is None:
            row = pd.DataFrame([_measured(loss, settings)])
            if store is not None:
                store.save(key, row)
        rows.append(row.assign(point=point.name, task=loss.split.task, split=split))
        if progress is not None:
            progress(number + 1, len(losses), "curvature at points")
    return pd.concat(rows, ignore_index=True).reindex(columns=list(COLUMNS))


def loss_at(
    point: Adapter,
    model: PointModel,
    task: Any,  # noqa: ANN401
    *,
    split: str,
    settings: SecondOrderSettings,
    encoding: EncodingSettings | None,
) -> LocalLoss:
    """The loss around a point on the examples that are asked for."""
    numbers = {"max_examples": settings.num_examples, "batch_size": settings.batch_size}
    return LocalLoss.at(point, model, task, split=split, settings=encoding, **numbers)


def probed_products(loss: LocalLoss) -> tuple[float, float]:
    """Seconds that a Hessian product and a gradient take, by the first batch, which has the longest rows."""
    rows = sum(len(batch) for batch in loss.rows)
    one = LocalLoss(
        loss.model, loss.split, loss.rows[:1], loss.num_tokens, loss.centre, loss.shapes, loss.modules, loss.saved
    )
    share = rows / len(loss.rows[0])
    one.gradient()  # the first time is not like the others
    began = time.perf_counter()
    one.gradient()
    between = time.perf_counter()
    one.product(torch.ones(loss.num_parameters, dtype=torch.float64))
    return share * (time.perf_counter() - between), share * (between - began)


def _measured(loss: LocalLoss, settings: SecondOrderSettings) -> dict[str, Any]:
    """The numbers of one point and task."""
    found: dict[str, Any] = {
        "loss": loss.value(),
        "num_parameters": loss.num_parameters,
        "num_examples": sum(len(batch) for batch in loss.rows),
        "num_products": 0,
    }
    if "trace" in settings.measures:
        trace = hessian_trace(loss, num_probes=settings.num_probes, generator=_generator(settings))
        found |= {"trace": trace.value, "trace_error": trace.error}
        found["num_products"] += trace.num_products
    if "extremes" in settings.measures:
        numbers = {"tolerance": settings.tolerance, "max_products": settings.max_products}
        ends = hessian_extremes(loss, **numbers, generator=_generator(settings))
        found |= {"top": ends.top, "top_error": ends.top_error, "bottom": ends.bottom}
        found["bottom_error"] = ends.bottom_error
        found["num_products"] += ends.num_products
    if "sharpness" in settings.measures:
        sharp = epsilon_sharpness(loss, size=settings.box, max_steps=settings.max_steps)
        found |= {"sharpness": sharp.value, "highest_loss": sharp.highest, "box": sharp.size}
    return found


def _generator(settings: SecondOrderSettings) -> torch.Generator:
    """Random numbers, the same at every point and task."""
    return torch.Generator().manual_seed(settings.seed)


def _key(point: Adapter, loss: LocalLoss, settings: SecondOrderSettings) -> str:
    """A name for one point and task, made of everything that decides its numbers."""
    model = loss.model
    model_facts = (model.fingerprint, str(model.dtype), model.device.type, quantization_of(model.module) or "")
    facts = ("second-order", point.fingerprint, model_facts, loss.split.identity, loss.rows, settings)
    return hashlib.sha256(repr(facts).encode()).hexdigest()
