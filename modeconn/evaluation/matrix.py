"""A barrier matrix: what lies between many checkpoints, pair by pair, as tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pandas as pd

from modeconn.errors import EvaluationError, listed
from modeconn.evaluation.barrier import Baseline
from modeconn.evaluation.profile import Profile
from modeconn.evaluation.saddles import saddle_tree

PAIR_COLUMNS = (
    "start", "end", "path", "space", "task", "split", "barrier_chord", "t_chord", "barrier_mean", "t_mean", "saddle",
    "t_saddle", "loss_start", "loss_end", "num_points", "num_examples",
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class BarrierMatrix:
    """Barriers and saddles between many checkpoints.

    Attributes:
        frame: One row for each pair and task: start, end, path, space, task, split, the loss barrier against both
            baselines and where it is reached, the saddle (the highest loss on the line) and where it is, the losses
            of both ends, num_points, num_examples. Losses in nats per scored token.
        profile: The profiles of all lines.
        points: The checkpoints' names, in order.
    """

    frame: pd.DataFrame
    profile: Profile
    points: tuple[str, ...]

    def barriers(self, task: str, *, baseline: Baseline = "chord") -> pd.DataFrame:
        """The barriers of a task, `[N, N]`, names as index and columns: symmetric, 0 on the diagonal, NaN not measured.

        Raises:
            EvaluationError: If there is no such task or baseline.
        """
        if baseline not in get_args(Baseline):
            raise EvaluationError(
                f"unknown baseline {baseline!r}", expected="chord or mean", got=repr(baseline), remedy='use "chord"'
            )
        return self._matrix(task, f"barrier_{baseline}", dict.fromkeys(self.points, 0.0))

    def saddles(self, task: str) -> pd.DataFrame:
        """The highest loss on every line, `[N, N]`; on the diagonal the checkpoints' own losses.

        Raises:
            EvaluationError: If there is no such task.
        """
        own = self._rows(task)
        losses = dict(zip(own["start"], own["loss_start"], strict=True))
        return self._matrix(task, "saddle", losses | dict(zip(own["end"], own["loss_end"], strict=True)))

    def trees(self) -> pd.DataFrame:
        """The minimum spanning tree of saddles of every task (see `saddle_tree`), lowest saddle first.

        Returns:
            task, start, end, saddle, loss_start, loss_end.

        Raises:
            EvaluationError: If the pairs do not join all checkpoints.
        """
        tables = []
        for task in self.frame["task"].unique():
            saddles = self.saddles(task)
            tree = saddle_tree(saddles.to_numpy())
            losses = np.diag(saddles.to_numpy())
            start, end = tree.edges.T
            names = np.array(self.points, dtype=object)
            ends = {"start": names[start], "end": names[end]}
            heights = {"saddle": tree.heights, "loss_start": losses[start], "loss_end": losses[end]}
            tables.append(pd.DataFrame({"task": task, **ends, **heights}))
        return pd.concat(tables, ignore_index=True)

    def _rows(self, task: str) -> pd.DataFrame:
        """A task's rows."""
        if task not in set(self.frame["task"]):
            raise EvaluationError(
                f"no pair was measured on the task {task!r}",
                expected=f"one of {listed(self.frame['task'].unique())}",
                got=repr(task),
                remedy="name a task of the table",
            )
        return self.frame.loc[self.frame["task"] == task]

    def _matrix(self, task: str, column: str, diagonal: Mapping[str, float]) -> pd.DataFrame:
        """A column of the pairs as a symmetric matrix."""
        own = self._rows(task)
        matrix = pd.DataFrame(np.nan, index=list(self.points), columns=list(self.points))
        for start, end, value in zip(own["start"], own["end"], own[column], strict=True):
            matrix.loc[start, end] = matrix.loc[end, start] = value
        for name, value in diagonal.items():
            matrix.loc[name, name] = value
        return matrix

    def __repr__(self) -> str:
        return f"BarrierMatrix(points={len(self.points)}, pairs={self.frame['path'].nunique()})"
