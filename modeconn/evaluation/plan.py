"""What an evaluation would cost, from a probe of half a second."""

from collections.abc import Sequence

from numpy.typing import ArrayLike

from modeconn.evaluation.evaluate import check_tasks, positions_asked
from modeconn.evaluation.own_heads import OneHead, by_head
from modeconn.evaluation.probe import Cost, probed
from modeconn.evaluation.progress import num_tokens
from modeconn.evaluation.resolve import Target
from modeconn.models.adapter_model import AdapterModel
from modeconn.models.encoded import EncodedTask
from modeconn.models.last_layer import layers_of
from modeconn.models.matmul_precision import exact_products, rounds
from modeconn.models.unchanged_layers import lower_layers
from modeconn.paths.path import Path
from modeconn.runs.environment import peak_device_memory_mib, peak_memory_mib
from modeconn.tasks.encoding import EncodingSettings
from modeconn.tasks.task import Task

_POINTS_FOR_A_TARGET = 21  # what smooth lines take; how many it will be is known at the end
_SCALES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))


def plan_evaluation(
    path: Path,
    model: AdapterModel,
    tasks: Sequence[Task],
    *,
    num_points: int = 21,
    t: ArrayLike | None = None,
    tolerance: float | None = None,
    absolute_tolerance: float | None = None,
    split: str = "test",
    settings: EncodingSettings | None = None,
    num_ends: int = 2,
    num_processes: int = 1,
) -> dict[str, str]:
    """What `evaluate_path` would do, with the same arguments.

    Args:
        path: The path.
        model: The model.
        tasks: The tasks.
        num_points: As for `evaluate_path`.
        t: As for `evaluate_path`.
        tolerance: As for `evaluate_path`.
        absolute_tolerance: As for `evaluate_path`.
        split: As for `evaluate_path`.
        settings: As for `evaluate_path`.
        num_ends: Checkpoints that are compared with plain PEFT.
        num_processes: Those that share the points.

    Returns:
        Quantity -> value with its unit, in words. The time is that from the first check to the last point: without
        loading, tables and figures.

    Raises:
        ModeconnError: For everything that would stop the evaluation before its first point, but that the ends are not
            the adapters.
    """
    check_tasks(tasks)
    asked = positions_asked(num_points=num_points, t=t, tolerance=tolerance, absolute_tolerance=absolute_tolerance)
    num_points = _POINTS_FOR_A_TARGET if isinstance(asked, Target) else len(asked)
    parts = by_head(path, model, tasks) if path.heads == "own" else [OneHead(path, model, list(tasks), "start")]
    for one in parts:
        for point in one.path.points:
            one.model.check(point)
    encoded_by_part = [[one.model.encode(task, split, settings) for task in one.tasks] for one in parts]
    encoded = [one for part in encoded_by_part for one in part]
    weights = sum(weight.numel() * weight.element_size() for weight in model.module.parameters())
    costs = [probed(one.path, one.model, split) for one, split in zip(parts, encoded_by_part, strict=True)]
    again = [_again(one, split, num_points) for one, split in zip(parts, encoded_by_part, strict=True)]
    flops = sum(cost.flops * num_points + cost.first_flops * num_processes for cost in costs)
    flops += sum(extra.flops + extra.first_flops * num_processes for extra in again)
    seconds = _seconds(costs, num_points, num_ends, num_processes) + _seconds(again, 1, num_ends, num_processes)
    return {
        "points": f"about {num_points} (smooth lines)" if isinstance(asked, Target) else str(num_points),
        "examples": str(sum(one.num_examples for one in encoded)),
        "rows a point": str(sum(len(one.rows.rows) for one in encoded)),
        "batches a point": str(sum(len(one.batches) for one in encoded)),
        "tokens a point, padding included": str(sum(num_tokens(one) for one in encoded)),
        **_long(encoded),
        "cut prompts": str(sum(one.num_truncated for one in encoded)),
        **_once(parts[0]),
        "matrix products": f"{_scaled(flops)}FLOP",
        "memory of the weights": f"{weights / 2**20:.0f} MiB",
        "memory of a process": memory_held(model),
        **_fitting(model, path),
        "time": f"{duration(seconds)} on {_where(model, num_processes)}",
    }


def _seconds(costs: Sequence[Cost], num_points: int, num_ends: int, num_processes: int) -> float:
    """The time of all points and of the checks before them."""
    one = sum(cost.seconds * num_points + cost.check_seconds * num_ends for cost in costs)
    return one / num_processes + sum(cost.first_seconds for cost in costs)


def _again(part: OneHead, encoded: Sequence[EncodedTask], num_points: int) -> Cost:
    """What rounded products are compared with, in float32: the ends, and each task's highest position."""
    if not rounds(part.model):
        return Cost(0.0, 0.0, 0.0)
    exact = probed(part.path, exact_products(part.model), encoded)
    count = min(num_points, 2 + len(encoded))
    return Cost(exact.seconds * count, exact.flops * count, 0.0, exact.first_seconds, exact.first_flops)


def memory_held(model: AdapterModel) -> str:
    """The most memory so far, in which the weights were loaded and the largest batch went through the model."""
    peak = peak_device_memory_mib() if model.device.type == "cuda" else peak_memory_mib()
    return "unknown" if peak is None else f"{peak:.0f} MiB"


def _long(encoded: Sequence[EncodedTask]) -> dict[str, str]:
    """How many rows are longer than the token budget; nothing where none is."""
    long = sum(
        batch.num_tokens > split.settings.token_budget and len(batch.targets) == 1
        for split in encoded
        for batch in split.batches
    )
    return {"rows above the token budget": f"{long}, each a batch of its own"} if long else {}


def _once(part: OneHead) -> dict[str, str]:
    """How many layers run once for all points, as none changes them; nothing where there is none."""
    lower = lower_layers(part.model, part.path.points)
    every = layers_of(part.model.module)
    if lower is None or every is None:
        return {}
    return {"layers that run once": f"the first {len(lower.layers)} of {len(every)}: no checkpoint changes them"}


def _fitting(model: AdapterModel, path: Path) -> dict[str, str]:
    """The tokens of a batch that a limit of the memory leaves; nothing without a limit."""
    point = path.points[0]  # as large as any; with heads of their own, the points between fit no one model
    with model.at(point) as module:
        most = model.memory.most_tokens(module)
    return {} if most is None else {"tokens a batch that fit": f"{most}; larger batches are halved"}


def _where(model: AdapterModel, num_processes: int) -> str:
    """The device, and how many processes share the work."""
    return f"{model.device.type}, {num_processes} processes" if num_processes > 1 else str(model.device)


def _scaled(number: float) -> str:
    """A large number with the prefix of its unit."""
    scale, prefix = next((one for one in _SCALES if number >= one[0]), (1.0, ""))
    return f"{number / scale:.3g} {prefix}"


def duration(seconds: float) -> str:
    """A time as one says it."""
    if seconds < 120:
        return f"about {seconds:.2g} s" if seconds < 10 else f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 7200 else f"about {seconds / 3600:.1f} h"
