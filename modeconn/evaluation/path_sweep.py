"""A path, a model and its tasks, evaluated at positions as they are asked for."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from modeconn.evaluation.preconditions import preconditions
from modeconn.evaluation.profile import Profile
from modeconn.evaluation.progress import Progress, tell_tokens, told
from modeconn.evaluation.records import PointStore, Records
from modeconn.evaluation.rounded_products import rounded_products
from modeconn.models.matmul_precision import exact_products, rounding_of, rounds
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

    Attributes:
        path: The path, bound to the model.
        checks: What was checked before the first position, see `preconditions`.

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
        self.path, self._model, self._split = path.on(model), model, split
        self._encoded = [model.encode(task, split, settings) for task in tasks]
        self.checks = preconditions(
            self.path, model, self._encoded, [self.path.start, self.path.end], against_peft=check, called="ends",
            store=store,
        )  # fmt: skip
        self._progress = progress
        tell_tokens(progress, self.path.name, self._encoded)
        self._points, self._exact = (
            Records(self.path, one, self._encoded, store=store) for one in (model, exact_products(model))
        )
        self._records: dict[float, pd.DataFrame] = {}

    @property
    def tasks(self) -> list[str]:
        """The names of the M tasks."""
        return [one.task for one in self._encoded]

    @property
    def noise(self) -> np.ndarray:
        """What a mean loss is uncertain by, relative to 1 + loss, `[M]`: the repeated evaluation, and rounding.

        An example's loss is rounded by about the precision of the products, differently at every position; the mean of
        N examples by a share `1 / sqrt(N)` of that.
        """
        rounding = rounding_of(self._model)
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
        known = len(self._records)
        found = told(self._points.at(new), self._progress, self.path.name, total=known + len(new), done=known)
        for position, records in zip(new, found, strict=True):
            self._records[position] = records

    def losses(self, positions: Sequence[float]) -> np.ndarray:
        """The mean losses of the M tasks at positions, visited if need be, `[T] -> [T, M]`, nats."""
        self.visit(positions)
        return np.array([[self._mean_loss(t, task) for task in self.tasks] for t in positions])

    def profile(self) -> Profile:
        """What was visited as a profile, the positions in order."""
        positions = sorted(self._records)
        return Profile.from_examples(
            pd.concat([self._records[t] for t in positions], ignore_index=True),
            space=self.path.space,
            split=self._split,
            metrics={one.task: one.metric for one in self._encoded},
            distances={t: self.path.distance(t) for t in positions},
            checks={self.path.name: self.checks},
        )

    def products(self) -> pd.DataFrame | None:
        """What rounded products do to the barriers, see `rounded_products`; None where nothing is rounded."""
        return rounded_products(self._records, self._exact.at) if rounds(self._model) else None

    def _mean_loss(self, t: float, task: str) -> float:
        """The summed losses divided once by the scored tokens."""
        records = self._records[t]
        own = (records["task"] == task).to_numpy()
        return float(records["loss_sum"].to_numpy()[own].sum() / records["num_tokens"].to_numpy()[own].sum())
