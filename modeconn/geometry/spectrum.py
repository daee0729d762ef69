"""How many directions a spectrum has: stable rank and effective rank."""

import numpy as np
from numpy.typing import ArrayLike

from modeconn.errors import EvaluationError


def stable_rank(values: ArrayLike) -> float:
    """`sum s^2 / max s^2`, a rank that small singular values do not count in (Rudelson and Vershynin 2007).

    Args:
        values: Singular values, `[r]`, in any order.

    Returns:
        Between 1 and r; 0 where all values are 0.

    Raises:
        EvaluationError: If a value is negative or not finite.

    Example:
        >>> stable_rank([2.0, 2.0, 0.0]), stable_rank([3.0, 0.0])
        (2.0, 1.0)
    """
    found = checked(values)
    top = found.max(initial=0.0)
    return float(np.square(found / top).sum()) if top > 0 else 0.0


def effective_rank(values: ArrayLike) -> float:
    """`exp(-sum p log p)` with `p = s / sum s`: the entropy of the spectrum as a number of directions (Roy 2007).

    Args:
        values: Singular values, `[r]`, in any order.

    Returns:
        Between 1 and r, r where all are equal; 0 where all values are 0.

    Raises:
        EvaluationError: If a value is negative or not finite.

    Example:
        >>> round(effective_rank([2.0, 2.0, 0.0]), 12)
        2.0
    """
    found = checked(values)
    shares = found[found > 0] / found.sum() if found.sum() > 0 else found[:0]
    return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0


def checked(values: ArrayLike) -> np.ndarray:
    """Singular values in float64, `[r]`.

    Raises:
        EvaluationError: If a value is negative or not finite.
    """
    found = np.asarray(values, dtype=np.float64).reshape(-1)
    wrong = found[~(np.isfinite(found) & (found >= 0))]
    if len(wrong):
        raise EvaluationError(
            "these are no singular values",
            expected="finite numbers that are not negative",
            got=f"{wrong[0]:g} and {len(wrong) - 1} more such of {len(found)}",
            remedy="find the checkpoint that diverged; of eigenvalues take the absolute values",
        )
    return found
