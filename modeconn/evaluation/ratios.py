"""Ratios of sums over a task's examples, which is what a mean loss is, and what each example has to do with them."""

from typing import NamedTuple

import numpy as np


class Ratios(NamedTuple):
    """Ratios `sum_i a_i(t) / sum_i b_i` over the examples of one task, and their weight in a mean over tasks.

    Attributes:
        numerator: `[N, T]`, paired over the positions.
        denominator: `[N]`, positive.
        step: What one example that changes adds to a ratio, where values are counts of 0 and 1. As much normal noise
            is added to every resample: an example of a kind that none of the N is of may be among the next N.
        weight: What the ratios are multiplied with.
    """

    numerator: np.ndarray
    denominator: np.ndarray
    step: float = 0.0
    weight: float = 1.0

    @property
    def value(self) -> np.ndarray:
        """The ratios without the weight, `[T]`."""
        return self.numerator.sum(axis=0) / self.denominator.sum()

    @property
    def residuals(self) -> np.ndarray:
        """`e_i = a_i - R b_i`, `[N, T]`."""
        return self.numerator - self.value * self.denominator[:, None]

    @property
    def shares(self) -> np.ndarray:
        """What each example adds to the error of the weighted ratios, `[N, T]`: the squares sum to the variance."""
        count = len(self.denominator)
        return self.weight * np.sqrt(count / (count - 1)) * self.residuals / self.denominator.sum()

    @property
    def scale(self) -> float:
        """The most that one example adds to a weighted ratio: the unit in which rounding is measured."""
        return abs(self.weight) * np.abs(self.numerator).max(initial=0.0) / self.denominator.sum()

    def at(self, which: np.ndarray) -> "Ratios":
        """The ratios at some positions."""
        return self._replace(numerator=self.numerator[:, which])
