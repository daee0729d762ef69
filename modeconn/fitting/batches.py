"""What a fit is trained on: batches of a mixture of tasks, as functions of the step."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from modeconn.fitting.schedule import generator_of
from modeconn.models.encoded import EncodedTask
from modeconn.models.point_model import Encoded, PointModel

_GOLDEN = (5**0.5 - 1) / 2
_POOL = 16  # groups whose rows are sorted together: enough to spare most padding, few enough to stay random


class Mixture:
    """Examples of several tasks, in shares that follow their weights.

    The loss of example j of task i is `sum_tokens(nats) / m_i`, m_i the mean number of scored tokens of the task: its
    expectation over the mixture is `sum_i w_i * (mean loss of task i in nats per token)`. Example number n of a
    task's endless stream is fixed by the seed. The rows of 16 groups are sorted by length and dealt out again, so that
    a batch has little padding; the order of the groups is random.

    Args:
        model: Makes batches of rows.
        encoded: The training splits, one row an example.
        weights: One weight a task, at least 0; they are normalised.
        batch_size: Examples a batch.
        batches_per_group: Batches in a row that belong together, as those of gradient accumulation do.
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
        batches_per_group: int = 1,
        seed: int,
    ) -> None:
        self.model, self.encoded, self.batch_size, self.seed = model, list(encoded), batch_size, seed
        tokens = [model.row_tokens(split) for split in encoded]
        self._lengths = [_row_lengths(split) for split in encoded]
        self._sizes = [len(counts) for counts in tokens]
        self._mean_tokens = [float(counts.mean()) for counts in tokens]
        self._tasks, self._places = _slots(weights, batch_size * num_batches)
        self._group = batch_size * batches_per_group
        self._orders: dict[tuple[int, int], list[int]] = {}
        self._pool: tuple[int, list[tuple[int, int]]] = (-1, [])

    def rows(self, number: int) -> list[tuple[int, int]]:
        """Task and row of every example of batch `number` of the fit."""
        first = number * self.batch_size
        pool, within = divmod(first, _POOL * self._group)
        if self._pool[0] != pool:
            self._pool = pool, self._dealt(pool)
        return self._pool[1][within : within + self.batch_size]

    def collated(self, rows: Sequence[tuple[int, int]]) -> tuple[Any, torch.Tensor]:
        """Rows as one batch, and the divisor of each row's loss, `[B]`."""
        divisors = torch.tensor([self._mean_tokens[task] for task, _ in rows])
        return self.model.collate([(self.encoded[task], row) for task, row in rows]), divisors

    def lengths(self, rows: Sequence[tuple[int, int]]) -> list[int]:
        """The tokens of rows; 1 where rows are tensors of one shape."""
        return [max(1, self._lengths[task][row]) for task, row in rows]

    def _dealt(self, pool: int) -> list[tuple[int, int]]:
        """The rows of a pool in groups of like length, in random order; the last pool may be smaller."""
        size = _POOL * self._group
        slots = range(pool * size, min((pool + 1) * size, len(self._tasks)))
        rows = [(int(self._tasks[slot]), self._row(int(self._tasks[slot]), int(self._places[slot]))) for slot in slots]
        rows.sort(key=lambda row: -self._lengths[row[0]][row[1]])  # stable: equal lengths stay in their random order
        groups = [rows[start : start + self._group] for start in range(0, len(rows), self._group)]
        order = torch.randperm(len(groups), generator=generator_of(self.seed, 3, pool)).tolist()
        return [row for number in order for row in groups[number]]

    def _row(self, task: int, place: int) -> int:
        """The row at a place of a task's endless stream of shuffled passes."""
        turn, within = divmod(place, self._sizes[task])
        if (task, turn) not in self._orders:
            self._orders = {key: order for key, order in self._orders.items() if key[0] != task}  # one pass is kept
            generator = generator_of(self.seed, 2, task, turn)
            self._orders[task, turn] = torch.randperm(self._sizes[task], generator=generator).tolist()
        return self._orders[task, turn][within]


def _row_lengths(split: Encoded) -> list[int]:
    """Tokens of every row; 0 where rows are tensors of one shape."""
    if isinstance(split, EncodedTask):
        return [len(row.context) + len(row.targets) for row in split.rows.rows]
    return [0] * split.num_examples


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
