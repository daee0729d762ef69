"""A path, a model and its tasks, evaluated at positions as they are asked for."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from modeconn.evaluation.keys import point_keys
from modeconn.evaluation.processes import point_records, processes_of, shared_checks
from modeconn.evaluation.profile import Profile
from modeconn.evaluation.progress import Progress, tell_tokens
from modeconn.evaluation.records import PointStore, example_records
from modeconn.models.point_model import PointModel
from modeconn.paths.path import Path
from modeconn.tasks.encoding import EncodingSettings

__all__ = ["PathSweep", "Progress"]


class PathSweep:
    """What is known of tasks along a path; each position is evaluated once, on the same batches as all others.

    Args:
        path: The path.
        model: The model.
        tasks: The tasks; their names differ.
        split: Which split of every task.
        settings: How examples become tokens.
        check: Whether to compare the ends with plain PEFT.
        store: Keeps finished points.
        progress: Called as `progress(done, total, what)` after every position.

    Raises:
        EvaluationError: If the ends are not the adapters, or the model is not deterministic.
        ModelError: If the path's points do not fit the model.
        TaskError: If a task lacks the split or cannot be encoded.
    """

    def __init__(
        self,
        path: Path,
        model: PointModel,
        tasks: Sequence[Any],
        *,
        split: str,
        settings: EncodingSettings | None,
        check: bool,
        store: PointStore | None,
        progress: Progress | None,
    ) -> None:
        for point in path.points:
            model.check(point)
        self._path, self._model, self._split = path.on(model), model, split
        self._store, self._progress = store, progress
        self._encoded = [model.encode(task, split, settings) for task in tasks]
        start, ends = self._path.start, [self._path.start, self._path.end] if check else []
        repeatable, agreeing = shared_checks(model, start, ends, self._encoded, processes=processes_of(store))
        self.checks: dict[str, Any] = {
            "repeatable_within": repeatable,
            "truncated_examples": {one.task: one.num_truncated for one in self._encoded},
        }
        if path.heads:
            self.checks["heads"] = path.heads
        if check:
            self.checks["ends_agree_with_peft_within"] = agreeing
        tell_tokens(progress, self._path.name, self._encoded)
        self._records: dict[float, pd.DataFrame] = {}

    @property
    def tasks(self) -> list[str]:
        """The names of the M tasks."""
        return [one.task for one in self._encoded]

    @property
    def noise(self) -> np.ndarray:
        """What a mean loss is uncertain by, relative to 1 + loss, `[M]`: the repeated evaluation, and rounding.

        An example's loss is rounded by about the precision of the dtype, differently at every position; the mean of N
        examples by a share `1 / sqrt(N)` of that.
        """
        rounding = torch.finfo(self._model.dtype).eps
        count = np.array([one.num_examples for one in self._encoded])
        return self.checks["repeatable_within"] + rounding / np.sqrt(count)

    def visit(self, positions: Sequence[float]) -> None:
        """Evaluate all tasks at positions, those left out that were visited before.

        Raises:
            EvaluationError: If a loss is not finite.
        """
        new = [t for t in positions if t not in self._records]
        if not new:
            return
        keys = point_keys(self._path, self._model, self._encoded, new) if self._store is not None else [""] * len(new)
        total = len(self._records) + len(new)
        found = point_records(
            keys,
            lambda number, tasks: self._evaluated(new[number], tasks),
            num_tasks=len(self._encoded),
            store=self._store,
        )
        for position in new:
            self._report(total)
            self._records[position] = next(found)
        self._report(total)

    def losses(self, positions: Sequence[float]) -> np.ndarray:
        """The mean losses of the M tasks at positions, visited if need be, `[T] -> [T, M]`, nats."""
        self.visit(positions)
        return np.array([[self._mean_loss(t, task) for task in self.tasks] for t in positions])

    def profile(self) -> Profile:
        """What was visited as a profile, the positions in order."""
        positions = sorted(self._records)
        return Profile.from_examples(
            pd.concat([self._records[t] for t in positions], ignore_index=True),
            space=self._path.space,
            split=self._split,
            metrics={one.task: one.metric for one in self._encoded},
            distances={t: self._path.distance(t) for t in positions},
            checks={self._path.name: self.checks},
        )

    def _mean_loss(self, t: float, task: str) -> float:
        """The summed losses divided once by the scored tokens."""
        records = self._records[t]
        own = (records["task"] == task).to_numpy()
        return float(records["loss_sum"].to_numpy()[own].sum() / records["num_tokens"].to_numpy()[own].sum())

    def _report(self, total: int) -> None:
        """Tell how many of the positions that are known to be needed are done."""
        if self._progress:
            self._progress(len(self._records), total, self._path.name)

    def _evaluated(self, position: float, tasks: Sequence[int]) -> pd.DataFrame:
        """The records of some tasks at one position."""
        encoded = [self._encoded[task] for task in tasks]
        records = example_records(self._model, self._path(position), encoded, f"t={position:g}")
        records.insert(0, "path", self._path.name)
        records.insert(2, "t", position)
        return records
