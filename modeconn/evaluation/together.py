"""Whether points that are evaluated together give what each gives alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from modeconn.adapters.adapter import Adapter
from modeconn.errors import EvaluationError
from modeconn.evaluation.gate import TOLERANCE
from modeconn.models.adapter_model import AdapterModel
from modeconn.models.several_points import evaluate_together


def check_together(
    model: AdapterModel, points: Sequence[Adapter], encoded: Sequence[Any], *, num_rows: int = 256
) -> float:
    """The first and last point together against each alone, on a sample of every split.

    Args:
        model: The model.
        points: The points.
        encoded: The splits that will be evaluated; not those of written answers, where points go one after the other.
        num_rows: About how many rows a split to compare, as in `check_ends`.

    Returns:
        The largest difference of an example's loss, relative to `1 + loss`.

    Raises:
        EvaluationError: If it is above the tolerance of the gate.
        ModelError: If the model cannot be run over stacked weights.
    """
    pair = [points[0], points[-1]]
    samples = [split.sample(num_rows) for split in encoded if split.questions is None]
    together = evaluate_together(model, pair, samples)
    worst = 0.0
    for point, several in zip(pair, together, strict=True):
        for ours, alone in zip(several, model.evaluate(point, samples), strict=True):
            known = ~np.isnan(alone.loss_sum)  # the others are not in the sample
            difference = np.abs(ours.loss_sum - alone.loss_sum) / (1 + np.abs(alone.loss_sum))
            worst = max(worst, float(difference[known].max(initial=0.0)))
    if not worst <= TOLERANCE[model.dtype]:  # also if NaN
        raise EvaluationError(
            "points that are evaluated together give other losses than each alone",
            expected=f"differences of at most {TOLERANCE[model.dtype]:g}, relative to 1 + loss",
            got=f"{worst:.3g} between {points[0].name} and {points[-1].name}",
            remedy="leave points_per_batch (--points-per-batch) out, and report the model",
        )
    return worst
