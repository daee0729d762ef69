"""The gauge barrier: what a path between two gauges of one function shows, where there is nothing to show."""

from collections.abc import Sequence

import pandas as pd

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.gauge import regauge
from modeconn.errors import EvaluationError
from modeconn.evaluation.evaluate import evaluate_path
from modeconn.evaluation.profile import Metric
from modeconn.models.adapter_model import AdapterModel
from modeconn.paths.line import LinearPath
from modeconn.paths.path import Space
from modeconn.tasks.encoding import EncodingSettings
from modeconn.tasks.task import Task


def gauge_barrier(
    point: Adapter,
    model: AdapterModel,
    tasks: Sequence[Task],
    *,
    seed: int,
    num_points: int = 21,
    spaces: Sequence[Space] = ("weights", "factors", "aligned-factors"),
    strength: float = 1.0,
    flip: bool = False,
    metric: Metric = "loss",
    split: str = "test",
    settings: EncodingSettings | None = None,
    check: bool = True,
) -> pd.DataFrame:
    """The barrier of a checkpoint joined to itself in another gauge, `(B, A)` to `(B G, G^-1 A)`.

    Both ends are one function, so a barrier here says nothing about the loss: it is made by the coordinates. In
    weights, and in factors after alignment, it is 0 to rounding; in factors as they are it is not, and a barrier
    of this height between two checkpoints in factors is no evidence that anything lies between them.

    Args:
        point: A LoRA checkpoint.
        model: The model.
        tasks: The tasks; their names must differ.
        seed: Decides the gauge; one draw says little about the next.
        num_points: Evenly spaced positions, ends included.
        spaces: The coordinates to compare.
        strength: How far the gauge is from orthogonal, see `modeconn.adapters.gauge.regauge`.
        flip: Take `G = -I`; the midpoint in factors is then the base model.
        metric: "loss", or "score" for the barrier of the error `1 - score`.
        split: Which split of every task.
        settings: How examples become tokens.
        check: Whether to compare the ends with plain PEFT.

    Returns:
        One row for each space and task, with the columns of barriers.csv. The ends have one loss, so there is one
        baseline, the chord.

    Raises:
        EvaluationError: If no space is given, or as `evaluate_path` raises it.
        AdapterError: If an update of the point has no factors, or the strength is out of range.
        PathError: If a space is unknown.
        ModelError: If the point does not fit the model.
        TaskError: If a task lacks the split or cannot be encoded.

    Example:
        Of an adapter folder `a` and folders with tasks::

            point = Adapter.from_pretrained(a)
            model = AdapterModel.from_pretrained(adapters=[point])
            gauge_barrier(point, model, [Task.load(folder) for folder in folders], seed=0)
    """
    if not spaces:
        raise EvaluationError(
            "a gauge barrier needs coordinates",
            expected="at least one space",
            got="none",
            remedy='give spaces=("factors", "aligned-factors")',
        )
    twin = regauge(point, seed=seed, strength=strength, flip=flip)
    tables = []
    for space in spaces:
        line = LinearPath(point, twin, space=space)
        profile = evaluate_path(line, model, tasks, num_points=num_points, split=split, settings=settings, check=check)
        barriers = profile.barriers(metric)
        tables.append(barriers[barriers["baseline"] == "chord"])
    return pd.concat(tables, ignore_index=True)
