"""Many tests at once: p-values that still mean what they say."""

import numpy as np
from numpy.typing import ArrayLike

from modeconn.errors import EvaluationError


def holm(p_values: ArrayLike) -> np.ndarray:
    """P-values adjusted for their number (Holm 1979, Scandinavian Journal of Statistics 6).

    With the p-values sorted, `adjusted_i = max_{j <= i} min(1, (M - j + 1) p_j)`. Those below a level are all true
    discoveries with at least one minus that level of probability, however the tests depend on one another.

    Args:
        p_values: `[M]`; a missing one (NaN) stays missing and is not counted.

    Returns:
        `[M]`, in the order given.

    Raises:
        EvaluationError: If a p-value is not in [0, 1].

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    given = np.asarray(p_values, dtype=float).ravel()
    wrong = given[(given < 0) | (given > 1)]
    if len(wrong):
        raise EvaluationError(
            "cannot adjust the p-values",
            expected="numbers from 0 to 1, or NaN where there was no test",
            got=f"{wrong[0]:g}",
            remedy="give p-values, not statistics or logarithms",
        )
    adjusted = np.full_like(given, np.nan)
    there = np.flatnonzero(~np.isnan(given))
    order = there[np.argsort(given[there], kind="stable")]
    steps = given[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(order) else steps
    return adjusted
