"""Intervals of single means, each by itself: where nothing is searched for, nothing is too high on average."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from modeconn.evaluation.resampling import Resampled


class MeanIntervals(NamedTuple):
    """T means with what is known about each.

    Attributes:
        value: `[T]`.
        low: `[T]`.
        high: `[T]`.
        corrected: `[T]`, the median of what the true mean may be.
        p_value: `[T]`, of "the true mean is not above 0".
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    corrected: np.ndarray
    p_value: np.ndarray


def mean_intervals(sample: Resampled, *, confidence: float, num_examples: int) -> MeanIntervals:
    """Equal-tailed intervals of means, `m - q se`, and one-sided tests.

    Each q is the larger of two: that of the resamples (bootstrap-t; Hall 1992, section 3.2), which knows of skew, and
    Student's, which a sample that lacks its heavy tails does not shorten. Of 12 simulated cells (normal, t and
    lognormal losses, 50 and 200 examples) the first alone covers in 92.7 to 95.7 %, the second in 89.5 to 96.0 %, both
    together in 93.8 to 96.0 %, and are 2 to 7 % wider than the first. p is the larger of both, too.

    Args:
        sample: The means with their scatter.
        confidence: That of each interval.
        num_examples: N; of several tasks, that of the smallest.
    """
    tail = (1 - confidence) / 2
    far, middle, near = np.quantile(sample.draws, (1 - tail, 0.5, tail), axis=0)
    usual = stats.t(num_examples - 1)
    far, near = np.maximum(far, usual.ppf(1 - tail)), np.minimum(near, usual.ppf(tail))
    with np.errstate(invalid="ignore", divide="ignore"):
        reached = np.where(sample.scatters, sample.value / sample.error, np.where(sample.value > 0, np.inf, -np.inf))
    exceeding = (sample.draws >= reached).sum(axis=0)
    return MeanIntervals(
        value=sample.value,
        low=sample.value - far * sample.error,
        high=sample.value - near * sample.error,
        corrected=sample.value - middle * sample.error,
        p_value=np.maximum((1 + exceeding) / (1 + sample.num_resamples), usual.sf(reached)),
    )
