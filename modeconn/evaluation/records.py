"""Per-example records of points on a path, or in the span of its control points, each measured once."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
import pandas as pd
import torch

from modeconn.adapters.adapter import Adapter
from modeconn.evaluation.gate import check_finite
from modeconn.evaluation.keys import point_keys
from modeconn.evaluation.processes import point_records
from modeconn.models.adapter_model import AdapterModel
from modeconn.models.encoded import ExampleSums
from modeconn.models.lower_layers import LowerLayers
from modeconn.models.point_model import Encoded, PointModel
from modeconn.models.several_points import evaluate_together, points_per_batch
from modeconn.models.shares import Share
from modeconn.models.unchanged_layers import lower_layers, sharing_layers
from modeconn.paths.path import Path


class PointStore(Protocol):
    """Keeps the records of finished points, so that an interrupted evaluation goes on where it was."""

    def load(self, key: str) -> pd.DataFrame | None:
        """The records kept under a key, or None."""
        ...

    def save(self, key: str, records: pd.DataFrame) -> None:
        """Keep records under a key."""
        ...


class Records:
    """Where a sweep takes the numbers of a point from: the store that keeps finished points, or the model.

    Args:
        path: The path whose control points are combined.
        model: The model.
        encoded: The splits, the same batches at every point.
        store: Keeps finished points; None keeps nothing.
    """

    def __init__(
        self, path: Path, model: PointModel, encoded: Sequence[Encoded], *, store: PointStore | None = None
    ) -> None:
        self._path, self._model, self._encoded, self._store = path, model, encoded, store
        # The key of a position holds all that decides the numbers but the row of coefficients.
        self._shared = point_keys(path, model, encoded, [0.0])[0] if store is not None else ""

    def each(self, rows: torch.Tensor, where: Sequence[str]) -> Iterator[pd.DataFrame]:
        """The records of all tasks at points, one point after the other.

        Args:
            rows: The coefficients of the control points, `[T, K]` float64.
            where: The T positions in words, for messages: "x=1, y=2".

        Yields:
            One row for each task and example: task, example, loss_sum, num_tokens, score.

        Raises:
            EvaluationError: If a loss is not finite.
        """
        keys = [hashlib.sha256(json.dumps([self._shared, row]).encode()).hexdigest() for row in rows.tolist()]
        return self._measured(keys, lambda n: self._path.point(rows[n], f"{self._path.name} at {where[n]}"), where)

    def at(self, positions: Sequence[float]) -> Iterator[pd.DataFrame]:
        """The records of all tasks at positions on the path, one after the other.

        Args:
            positions: T positions.

        Yields:
            One row for each task and example: path, task, t, example, loss_sum, num_tokens, score.

        Raises:
            EvaluationError: If a loss is not finite.
        """
        keys = [""] * len(positions)
        if self._store is not None:
            keys = point_keys(self._path, self._model, self._encoded, positions)
        found = self._measured(keys, lambda n: self._path(positions[n]), [f"t={t:g}" for t in positions])
        return (placed(records, self._path.name, t) for records, t in zip(found, positions, strict=True))

    @cached_property
    def _lower(self) -> LowerLayers | None:
        """What the points share; looked for once one is measured, as full fine-tunes are read for it."""
        return lower_layers(self._model, self._path.points)

    def _measured(
        self, keys: Sequence[str], point: Callable[[int], Adapter], where: Sequence[str]
    ) -> Iterator[pd.DataFrame]:
        """The records of points, by their numbers, that are kept under keys."""

        def measure(numbers: Sequence[int], share: Share) -> list[pd.DataFrame]:
            points = [point(number) for number in numbers]
            with sharing_layers(self._model, self._lower):
                return example_records(self._model, points, self._encoded, [where[n] for n in numbers], share=share)

        return point_records(keys, measure, together=points_per_batch(self._model), store=self._store)


def placed(records: pd.DataFrame, path: str, t: float) -> pd.DataFrame:
    """Records with the columns path and t in their places.

    Args:
        records: Those of one point; a path and a t that they have are replaced.
        path: The path's name.
        t: The position.
    """
    others = records.columns.difference(["path", "task", "t"], sort=False)
    return records.assign(path=path, t=t).reindex(columns=["path", "task", "t", *others])


def task_means(records: pd.DataFrame, encoded: Sequence[Encoded]) -> pd.DataFrame:
    """One row for each task from the records of one point: sums divided once.

    Args:
        records: One row for each task and example.
        encoded: The splits that they are of.
    """
    rows = []
    for split in encoded:
        own = records[records["task"] == split.task]
        loss, tokens, score = (np.asarray(own[name]) for name in ("loss_sum", "num_tokens", "score"))
        means = loss.sum() / tokens.sum(), score.mean()
        rows.append((split.task, split.split, *means, split.metric, len(own), tokens.sum()))
    names = ["task", "split", "loss", "score", "metric", "num_examples", "num_tokens"]
    return pd.DataFrame(rows, columns=names)


def example_records(
    model: PointModel, points: Sequence[Adapter], encoded: Sequence[Encoded], where: Sequence[str], *, share: Share
) -> list[pd.DataFrame]:
    """What every example of every task gives at points.

    Args:
        model: The model.
        points: Points that are measured together, where the model does that.
        encoded: The splits.
        where: Their positions in words, for messages.
        share: Who scores which of the batches.

    Returns:
        For each point one row for each task and example: task, example, loss_sum (nats), num_tokens, score; output
        (text) and ended, too, where a task is scored by written answers, missing for the other tasks.

    Raises:
        EvaluationError: If a loss is not finite.
    """
    if len(points) > 1 and isinstance(model, AdapterModel):
        found = evaluate_together(model, points, encoded, share)  # type: ignore[arg-type]  # its own splits
    else:
        found = [model.evaluate(point, encoded, share) for point in points]
    return [_records(encoded, sums, place) for sums, place in zip(found, where, strict=True)]


def _records(encoded: Sequence[Encoded], found: Sequence[ExampleSums], where: str) -> pd.DataFrame:
    """One row for each task and example of a point."""
    frames = []
    for split, sums in zip(encoded, found, strict=True):
        check_finite(sums.loss_sum, f"{split.task}/{split.split} at {where}", task=split.task)
        columns = {
            "task": split.task,
            "example": np.arange(split.num_examples),
            "loss_sum": sums.loss_sum,
            "num_tokens": sums.num_tokens,
            "score": sums.score,
        }
        if sums.outputs is not None:
            columns |= {
                "output": pd.array(sums.outputs.texts, dtype="string"),
                "ended": pd.array(sums.outputs.ended, dtype="boolean"),
            }
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)
