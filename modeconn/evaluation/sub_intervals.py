"""Every part of a path, and the chords over it: many contrasts of few means."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import sparse


@dataclass(frozen=True)
class SubIntervals:
    """Every `t_i < t_j < t_k` of some positions, and what the profile has at `t_j` above the chord of the other two.

    Attributes:
        first: `[C]`, i; C = T (T - 1) (T - 2) / 6.
        middle: `[C]`, j.
        last: `[C]`, k.
        weights: `[C, T]`, sparse: one at j, less the shares of i and k.
    """

    first: np.ndarray
    middle: np.ndarray
    last: np.ndarray
    weights: sparse.csr_array

    @classmethod
    def of(cls, t: np.ndarray) -> "SubIntervals":
        """Those of positions `[T]`, ordered by first, middle and last."""
        triples = list(combinations(range(len(t)), 3))
        first, middle, last = np.array(triples, dtype=int).reshape(-1, 3).T
        share = (t[last] - t[middle]) / (t[last] - t[first])  # of the first
        values = np.stack([np.ones(len(middle)), -share, share - 1], axis=1)  # [C, 3]
        columns = np.stack([middle, first, last], axis=1)
        starts = np.arange(len(middle) + 1) * 3
        weights = sparse.csr_array((values.ravel(), columns.ravel(), starts), shape=(len(middle), len(t)))
        return cls(first, middle, last, weights)

    def __len__(self) -> int:
        return len(self.middle)

    def squares(self, num_positions: int) -> sparse.csr_array:
        """`[C, P]`: the weights of packed covariances, `pairs(T)`, in a contrast's variance."""
        columns = self.weights.indices.reshape(-1, 3)
        values = self.weights.data.reshape(-1, 3)
        place = np.zeros((num_positions, num_positions), dtype=int)
        rows, others = np.triu_indices(num_positions)
        place[rows, others] = place[others, rows] = np.arange(len(rows))
        one, other = np.triu_indices(3)
        found = place[columns[:, one], columns[:, other]]  # [C, 6]
        products = values[:, one] * values[:, other] * np.where(one == other, 1.0, 2.0)
        starts = np.arange(len(columns) + 1) * 6
        return sparse.csr_array((products.ravel(), found.ravel(), starts), shape=(len(columns), len(rows)))
