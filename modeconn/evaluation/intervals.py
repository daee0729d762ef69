"""Intervals at single positions: how much a mean would move with other examples of the same kind."""

from collections.abc import Callable

import numpy as np
from scipy import stats

MIN_EXAMPLES = 8
Interval = tuple[float, float]


def ratio_interval(numerator: np.ndarray, denominator: np.ndarray, *, level: float = 0.95) -> Interval:
    """The interval of `sum(numerator) / sum(denominator)` over examples, by the delta method.

    `R +- q * sqrt(N / (N - 1) * sum_i (a_i - R b_i)^2) / sum_i b_i`, q the quantile of Student's t with N - 1
    degrees of freedom (Cochran 1977, section 6.4). It holds at one position; a maximum over positions needs a band.

    Args:
        numerator: `[N]`, such as summed losses.
        denominator: `[N]`, such as token counts.
        level: Coverage.

    Returns:
        Low and high; NaN below 8 examples.
    """
    count = len(numerator)
    if count < MIN_EXAMPLES:
        return np.nan, np.nan
    ratio = numerator.sum() / denominator.sum()
    residual = numerator - ratio * denominator
    error = np.sqrt(count / (count - 1) * (residual**2).sum()) / denominator.sum()
    reach = stats.t.ppf((1 + level) / 2, count - 1) * error
    return float(ratio - reach), float(ratio + reach)


def proportion_interval(scores: np.ndarray, *, level: float = 0.95) -> Interval:
    """The interval of a mean of zeros and ones (Wilson 1927); of other scores in [0, 1] by the delta method.

    Args:
        scores: `[N]`.
        level: Coverage.

    Returns:
        Low and high; NaN below 8 examples.

    Example:
        >>> low, high = proportion_interval(np.array([1.0] * 10))
        >>> round(low, 3), round(high, 3)
        (0.722, 1.0)
    """
    if len(scores) < MIN_EXAMPLES:
        return np.nan, np.nan
    if not np.isin(scores, (0.0, 1.0)).all():
        return ratio_interval(scores, np.ones_like(scores), level=level)
    wilson: Callable[..., Interval] = stats.binomtest(int(scores.sum()), len(scores)).proportion_ci
    low, high = wilson(level, method="wilson")
    return float(low), float(high)
