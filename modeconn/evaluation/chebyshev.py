"""Polynomials through Chebyshev nodes, and how much they leave out."""

import math

import numpy as np
from numpy.polynomial import Chebyshev
from scipy.fft import dct


def nodes(degree: int, low: float = 0.0, high: float = 1.0) -> list[float]:
    """The n + 1 Chebyshev-Lobatto nodes of an interval, `low + (high - low) (1 - cos(pi k / n)) / 2`, increasing.

    Those of degree n are the even ones of degree 2 n, bit by bit, so that a doubled degree takes over every value. The
    ends are the interval's own.

    Args:
        degree: n, a power of two.
        low: Where the interval begins.
        high: Where it ends.

    Example:
        >>> nodes(2), nodes(4)[::2]
        ([0.0, 0.5, 1.0], [0.0, 0.5, 1.0])
    """
    # The sine of an odd argument keeps the nodes symmetric, and one call a node keeps them the same in every list.
    inner = [0.5 + 0.5 * math.sin(math.pi * (k / degree - 0.5)) for k in range(1, degree)]
    return [low, *(low + (high - low) * share for share in inner), high]


def coefficients(values: np.ndarray) -> np.ndarray:
    """The Chebyshev coefficients of the polynomial through values at `nodes(n)`, `[n + 1, ...] -> [n + 1, ...]`.

    Args:
        values: In the order of the nodes, one or several columns.
    """
    degree = len(values) - 1
    found = np.asarray(dct(np.asarray(values, dtype=float)[::-1], type=1, axis=0)) / degree
    found[[0, -1]] /= 2
    return found


def through(values: np.ndarray, low: float, high: float) -> Chebyshev:
    """The polynomial through values at the nodes of an interval.

    Args:
        values: `[n + 1]`, in the order of `nodes(n, low, high)`.
        low: Where the interval begins.
        high: Where it ends.
    """
    return Chebyshev(coefficients(values), domain=[low, high])


def tail(found: np.ndarray) -> float:
    """The largest difference that terms beyond the degree n make if the coefficients keep falling as they do.

    Coefficients `C r^-k` that were left out change the interpolant by at most `2 max_x sum_j C r^-(n+j) sin(j x)`,
    which is `C r^-n / sinh(log r)` (of the aliasing formula in Trefethen 2013, Approximation Theory and Approximation
    Practice, chapter 4). C and r are those of a line over the logarithms of the upper half's monotone envelope.

    Args:
        found: Coefficients, `[n + 1]`, n at least 4.

    Returns:
        The difference in the unit of the values; infinite if the coefficients do not fall.

    Example:
        >>> round(tail(0.5 ** np.arange(17)) / 0.5**16, 3)  # of 0.5^17, 0.5^18, ...
        1.333
    """
    degree = len(found) - 1
    sizes = np.abs(found)
    if not sizes.any():
        return 0.0
    k = np.arange(degree // 2, degree)  # without the last, which is 0 if the function is odd
    envelope = np.maximum.accumulate(sizes[::-1])[::-1][k]
    logs = np.log(np.maximum(envelope, np.finfo(float).eps * sizes.max()))
    slope, level = np.polyfit(k, logs, 1)
    level += (logs - level - slope * k).max()  # from the middle of the envelope to above it
    return float(np.exp(level + slope * degree) / np.sinh(-slope)) if slope < -1e-3 else math.inf
