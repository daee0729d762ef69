"""The score matrix of a continual run, and what it says about learning and forgetting."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from modeconn.errors import EvaluationError

SCORE_COLUMNS = ["method", "adapter", "seed", "after_task", "task", "metric", "score"]


@dataclass(frozen=True, eq=False)
class ScoreMatrix:
    """`R[i, j]`: the score on task j after training on the first i tasks; row 0 is before any training.

    A cell that was not measured is NaN, never 0, and what needs it is NaN, too. Scores, not losses: higher is better.

    Attributes:
        values: `[N + 1, N]` for N tasks in the order of training.

    Raises:
        EvaluationError: If the shape is another.

    Example:
        >>> matrix = ScoreMatrix([[0.2, 0.3], [0.9, 0.4], [0.6, 0.8]])
        >>> round(matrix.average_accuracy(), 3), round(matrix.forgetting(), 3), round(matrix.backward_transfer(), 3)
        (0.7, 0.3, -0.3)
        >>> round(matrix.forward_transfer(), 3)
        0.1
    """

    values: np.ndarray

    def __init__(self, values: ArrayLike) -> None:
        object.__setattr__(self, "values", np.asarray(values, dtype=float))
        if self.values.ndim != 2 or self.values.shape[0] != self.values.shape[1] + 1 or self.values.size == 0:
            raise EvaluationError(
                "this is no score matrix",
                expected="[N + 1, N] scores of N tasks, row 0 before any training",
                got=f"an array of shape {list(self.values.shape)}",
                remedy="give one row for each task trained on, and one before",
            )

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> "ScoreMatrix":
        """The matrix of one run, every task in its own metric.

        Args:
            frame: Columns after_task, task, metric, score, as in scores.csv; rows of the metric "loss" are left out.

        Raises:
            EvaluationError: If a cell stands there twice, or rows are missing.
        """
        scores = frame[frame["metric"] != "loss"]
        cells = scores.groupby(["after_task", "task"], sort=False).size()
        if (cells.to_numpy() > 1).any():
            after, task = cells.idxmax()  # type: ignore[misc]
            raise EvaluationError(
                "a score matrix needs one score a cell",
                expected="one run, and one metric a task beside the loss",
                got=f"several scores of {task} after task {after}",
                remedy="select one method, adapter, seed and metric",
            )
        tasks = list(dict.fromkeys(scores["task"]))
        matrix = scores.pivot_table(index="after_task", columns="task", values="score", dropna=False)
        return cls(matrix.reindex(index=range(len(tasks) + 1), columns=tasks).to_numpy())

    @property
    def num_tasks(self) -> int:
        """N."""
        return self.values.shape[1]

    def average_accuracy(self) -> float:
        """ACC, the mean of the last row: `1/N sum_j R[N, j]` (Lopez-Paz 2017, arXiv 1706.08840)."""
        return float(self.values[-1].mean())

    def average_incremental_accuracy(self) -> float:
        """AIA, the mean over i of the mean of the tasks seen so far: `1/N sum_i 1/i sum_{j <= i} R[i, j]`."""
        return float(np.mean([self.values[i, :i].mean() for i in range(1, self.num_tasks + 1)]))

    def learning_accuracy(self) -> float:
        """The mean score right after a task's own training, `1/N sum_j R[j, j]` (Riemer 2019, arXiv 1810.11910)."""
        return float(self._learnt.mean())

    def backward_transfer(self) -> float:
        """BWT, `1/(N-1) sum_{j < N} (R[N, j] - R[j, j])`; NaN for one task (Lopez-Paz 2017)."""
        return _mean(self.values[-1, :-1] - self._learnt[:-1])

    def forward_transfer(self) -> float:
        """FWT, `1/(N-1) sum_{j > 1} (R[j-1, j] - R[0, j])`; NaN for one task (Lopez-Paz 2017)."""
        before = self.values[:-1].diagonal()  # R[j-1, j] of task j = 1, ..., N
        return _mean(before[1:] - self.values[0, 1:])

    def forgetting(self) -> float:
        """`1/(N-1) sum_{j < N} (max_{1 <= i < N} R[i, j] - R[N, j])` (Chaudhry 2018, arXiv 1801.10112).

        Negative where a task got better; NaN for one task.
        """
        if self.num_tasks == 1:
            return float("nan")
        return _mean(self.values[1:-1, :-1].max(axis=0) - self.values[-1, :-1])

    def summary(self) -> dict[str, float]:
        """All measures by name."""
        names = (
            "average_accuracy", "average_incremental_accuracy", "learning_accuracy",
            "backward_transfer", "forward_transfer", "forgetting",
        )  # fmt: skip
        return {name: getattr(self, name)() for name in names}

    @property
    def _learnt(self) -> np.ndarray:
        """`R[j, j]`, each task right after its own training, `[N]`."""
        return self.values[1:].diagonal()


def check_score(loss: float, task: str, after_task: int) -> None:
    """Raise unless a loss of the score matrix is a number.

    Raises:
        EvaluationError: If it is not.
    """
    if not np.isfinite(loss):
        of = f"the checkpoint after task {after_task}" if after_task else "the base model"
        raise EvaluationError(
            f"{of} has no finite loss on {task}",
            expected="a number",
            got=str(loss),
            remedy="lower --learning-rate" if after_task else "take a base model whose weights are finite",
        )


def _mean(values: np.ndarray) -> float:
    """The mean; NaN of nothing."""
    return float(values.mean()) if values.size else float("nan")
