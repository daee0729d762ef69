"""A path, a model and its tasks, evaluated at positions as they are asked for."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from modeconn.evaluation.gate import check_ends, check_repeatable
from modeconn.evaluation.keys import point_keys
from modeconn.evaluation.profile import Profile
from modeconn.evaluation.records import PointStore, example_records
from modeconn.models.point_model import PointModel
from modeconn.paths.path import Path
from modeconn.tasks.encoding import EncodingSettings

Progress = Callable[[int, int, str], None]


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
        self.checks: dict[str, Any] = {
            "repeatable_within": check_repeatable(model, self._path.start, self._encoded),
            "truncated_examples": {one.task: one.num_truncated for one in self._encoded},
        }
        if path.heads:
            self.checks["heads"] = path.heads
        if check:
            ends = [self._path.start, self._path.end]
            self.checks["ends_agree_with_peft_within"] = check_ends(model, ends, self._encoded)
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
        for position, key in zip(new, keys, strict=True):
            self._report(total)
            kept = self._store.load(key) if self._store is not None else None
            if kept is None:
                kept = self._evaluated(position)
                if self._store is not None:
                    self._store.save(key, kept)
            self._records[position] = kept
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

    def _evaluated(self, position: float) -> pd.DataFrame:
        """The records of all tasks at one position."""
        records = example_records(self._model, self._path(position), self._encoded, f"t={position:g}")
        records.insert(0, "path", self._path.name)
        records.insert(2, "t", position)
        return records
