"""What an evaluation would cost, from a probe of a few batches."""

import time
from collections.abc import Sequence

from numpy.typing import ArrayLike

from modeconn.evaluation.evaluate import check_tasks, positions_asked
from modeconn.evaluation.own_heads import OneHead, by_head
from modeconn.evaluation.resolve import Target
from modeconn.models.adapter_model import AdapterModel
from modeconn.models.encoded import EncodedTask
from modeconn.models.point_model import PointModel
from modeconn.paths.path import Path
from modeconn.tasks.encoding import EncodingSettings
from modeconn.tasks.task import Task

_PROBED_ROWS = 48
_POINTS_FOR_A_TARGET = 21  # what smooth lines take; how many it will be is known at the end


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
) -> dict[str, str]:
    """What `evaluate_path` would do, with the same arguments.

    Returns:
        Quantity -> value with its unit, in words.

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
    tokens = sum(_num_tokens(one) for one in encoded)
    weights = sum(weight.numel() * weight.element_size() for weight in model.module.parameters())
    seconds = _seconds_per_token(parts[0].path, parts[0].model, encoded_by_part[0]) * tokens * num_points
    return {
        "points": f"about {num_points} (smooth lines)" if isinstance(asked, Target) else str(num_points),
        "examples": str(sum(one.num_examples for one in encoded)),
        "rows a point": str(sum(len(one.rows.rows) for one in encoded)),
        "batches a point": str(sum(len(one.batches) for one in encoded)),
        "tokens a point, padding included": str(tokens),
        "cut prompts": str(sum(one.num_truncated for one in encoded)),
        "memory of the weights": f"{weights / 2**20:.0f} MiB",
        "time": f"about {seconds:.0f} s on {model.device}",
    }


def _num_tokens(encoded: EncodedTask) -> int:
    """Tokens of all batches, padding included."""
    return sum(batch.inputs["input_ids"].numel() for batch in encoded.batches)


def _seconds_per_token(path: Path, model: PointModel, encoded: Sequence[EncodedTask]) -> float:
    """The time that a few batches take at the middle of the path, the second time."""
    samples = [one.sample(_PROBED_ROWS) for one in encoded]
    with model.at(path(0.5)) as module:
        for _ in range(2):
            began = time.perf_counter()
            for sample in samples:
                model.score_rows(module, sample)
            seconds = time.perf_counter() - began
    return seconds / sum(_num_tokens(sample) for sample in samples)  # type: ignore[possibly-undefined]
