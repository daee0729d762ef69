"""What measuring curvature at points would cost, from a probe."""

from collections.abc import Sequence
from typing import Any

from modeconn.adapters.adapter import Adapter
from modeconn.evaluation.plan import duration, memory_held
from modeconn.evaluation.second_order import loss_at, probed_products
from modeconn.evaluation.second_order_settings import SecondOrderSettings
from modeconn.models.adapter_model import AdapterModel
from modeconn.tasks.encoding import EncodingSettings


def plan_second_order(
    points: Sequence[Adapter],
    model: AdapterModel,
    tasks: Sequence[Any],
    *,
    split: str = "test",
    settings: SecondOrderSettings | None = None,
    encoding: EncodingSettings | None = None,
) -> dict[str, str]:
    """What `second_order` would do, with the same arguments; two gradients and a product of a batch a task are made.

    Args:
        points: The points.
        model: The model.
        tasks: The tasks.
        split: Which of their splits.
        settings: What is measured.
        encoding: How examples become tokens.

    Returns:
        Quantity -> value with its unit, in words. Time and products are upper bounds: Lanczos' method may stop early.

    Raises:
        ModeconnError: For everything that would stop the measurement before its first product.
    """
    settings = settings or SecondOrderSettings()
    options: dict[str, Any] = {"split": split, "settings": settings, "encoding": encoding}
    losses = [[loss_at(point, model, task, **options) for task in tasks] for point in points]
    costs = [probed_products(loss) for loss in losses[0]]  # of one point: the others have the same rows
    seconds = sum(
        settings.most_products * product + (settings.most_gradients + 1) * gradient for product, gradient in costs
    )
    parameters = sorted({loss.num_parameters for own in losses for loss in own})
    return {
        "points": str(len(points)),
        "examples a point": str(sum(len(batch) for loss in losses[0] for batch in loss.rows)),
        "coordinates": " to ".join(dict.fromkeys((str(parameters[0]), str(parameters[-1])))),
        "Hessian products a point": f"{settings.most_products * len(tasks)} at most",
        "gradients a point": f"about {settings.most_gradients * len(tasks)} at most",
        "memory of a process": memory_held(model),
        "time": f"{duration(seconds * len(points))} at most on {model.device}",
    }
