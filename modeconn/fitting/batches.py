"""What a fit is trained on: batches of a mixture of tasks, as functions of the step."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from modeconn.errors import EvaluationError
from modeconn.fitting.schedule import generator_of
from modeconn.models.point_model import Encoded, PointModel

_GOLDEN = (5**0.5 - 1) / 2


class Mixture:
    """Examples of several tasks, in shares that follow their weights.

    The loss of example j of task i is `sum_tokens(nats) / m_i`, m_i the mean number of scored tokens of the task: its
    expectation over the mixture is `sum_i w_i * (mean loss of task i in nats per token)`. Example number n of a
    task's endless stream is fixed by the seed; a step reads on from where the step before stopped.

    Args:
        model: Makes batches of rows.
        encoded: The training splits, one row an example.
        weights: One weight a task, at least 0; they are normalised.
        batch_size: Examples a batch.
        num_batches: Batches of the whole fit.
        seed: Seed of the order.
    """

    def __init__(
        self,
        model: PointModel,
        encoded: Sequence[Encoded],
        weights: Sequence[float],
        *,
        batch_size: int,
        num_batches: int,
        seed: int,
    ) -> None:
        self.model, self.encoded, self.batch_size, self.seed = model, list(encoded), batch_size, seed
        tokens = [model.row_tokens(split) for split in encoded]
        self._sizes = [len(counts) for counts in tokens]
        self._mean_tokens = [float(counts.mean()) for counts in tokens]
        self._tasks, self._places = _slots(weights, batch_size * num_batches)
        self._orders: dict[tuple[int, int], list[int]] = {}

    def batch(self, number: int) -> tuple[Any, torch.Tensor]:
        """Batch `number` of the fit and the divisor of each row's loss, `[B]`."""
        slots = range(number * self.batch_size, (number + 1) * self.batch_size)
        chosen = [(int(self._tasks[slot]), int(self._places[slot])) for slot in slots]
        rows = [(self.encoded[task], self._row(task, place)) for task, place in chosen]
        divisors = torch.tensor([self._mean_tokens[task] for task, _ in chosen])
        return self.model.collate(rows), divisors

    def _row(self, task: int, place: int) -> int:
        """The row at a place of a task's endless stream of shuffled passes."""
        turn, within = divmod(place, self._sizes[task])
        if (task, turn) not in self._orders:
            self._orders = {key: order for key, order in self._orders.items() if key[0] != task}  # one pass is kept
            generator = generator_of(self.seed, 2, task, turn)
            self._orders[task, turn] = torch.randperm(self._sizes[task], generator=generator).tolist()
        return self._orders[task, turn][within]


def _slots(weights: Sequence[float], count: int) -> tuple[np.ndarray, np.ndarray]:
    """The task of every example of a fit, and its place in the task's stream, `[count]` each.

    The golden-ratio sequence spreads every task evenly over the steps, in shares that follow the weights.
    """
    ends = np.cumsum(weights) / np.sum(weights)
    tasks = np.searchsorted(ends, (np.arange(count) * _GOLDEN) % 1.0, side="right").clip(max=len(ends) - 1)
    places = np.zeros(count, dtype=np.int64)
    for task in range(len(ends)):
        mine = tasks == task
        places[mine] = np.arange(mine.sum())
    return tasks, places


def check_finite_loss(loss: torch.Tensor, *, t: float, step: int) -> None:
    """Raise if a training loss is NaN or infinite.

    Raises:
        EvaluationError: It says at which position and step.
    """
    if not torch.isfinite(loss):
        raise EvaluationError(
            "the loss of the fit is not finite",
            expected="a number",
            got=f"{loss.item()} at t={t:.4f}, step {step + 1}",
            remedy="lower --learning-rate; the best curve until then is kept",
        )
