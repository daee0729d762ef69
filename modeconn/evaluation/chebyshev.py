"""Chebyshev nodes, and the polynomials through values at them."""

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
