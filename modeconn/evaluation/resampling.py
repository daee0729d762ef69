"""How far means along a path may be from what other examples would give: the studentised bootstrap of ratios."""

from dataclasses import dataclass

import numpy as np

_ROUNDING = 1e-12  # of the largest value: below, a standard error is rounding
# A resample of few different examples may have next to no spread; its studentised mean would be infinite.
_LEAST_SPREAD = 0.1
_WEIGHTS_AT_ONCE = 2_500_000  # counts held in memory, 20 MB


@dataclass(frozen=True)
class Resampled:
    """Means at T positions with a sample of how they scatter, paired over the positions.

    Attributes:
        value: `[T]`, the means.
        covariance: `[T, T]`, of the means.
        error: `[T]`, their standard errors; 0 where a mean is exact.
        draws: `[R, T]`, resampled `(mean - true mean) / standard error`; 0 where a mean is exact.
        num_effective: `[T]`, `(sum e^2)^2 / sum e^4` over the examples' residuals: about N / 3 of normal ones, 1 if
            one example carries the whole variance; NaN where a mean is exact.
    """

    value: np.ndarray
    covariance: np.ndarray
    error: np.ndarray
    draws: np.ndarray
    num_effective: np.ndarray

    @property
    def scatters(self) -> np.ndarray:
        """`[T]`, where the mean is not exact."""
        return self.error > 0


def resampled_ratios(
    numerator: np.ndarray,
    denominator: np.ndarray,
    *,
    num_resamples: int,
    seed: int,
    certain: np.ndarray | None = None,
    step: float = 0.0,
) -> Resampled:
    """Ratios `sum_i a_i(t) / sum_i b_i` and their studentised bootstrap over examples (Hall 1992, section 3.2).

    A resample counts every example `w_i` times. With `e_i = a_i - R b_i`, the ratio moves by
    `r = sum w e / sum w b`, and its squared standard error is `N / (N - 1) * sum w (e - r b)^2 / (sum w b)^2`
    (Cochran 1977, section 6.4). Dividing each resample by its own error is what keeps the levels right for skewed and
    heavy-tailed losses.

    Args:
        numerator: `[N, T]`, paired over the positions.
        denominator: `[N]`, positive.
        num_resamples: R.
        seed: Of the generator.
        certain: `[T]`, positions whose ratio is known without examples.
        step: What one example that changes adds to a ratio, where values are counts of 0 and 1. As much normal noise
            is added to every resample: an example of a kind that none of the N is of may be among the next N.

    Returns:
        The ratios and their scatter.
    """
    count, total = len(numerator), denominator.sum()
    value = numerator.sum(axis=0) / total  # [T]
    residual = numerator - value * denominator[:, None]  # [N, T]
    covariance = count / (count - 1) * (residual.T @ residual) / total**2 + step**2 * np.eye(len(value))
    error = np.sqrt(np.diag(covariance))
    scale = np.abs(numerator).max(initial=0.0) / total
    exact = (error <= _ROUNDING * scale) | (False if certain is None else certain)
    error = np.where(exact, 0.0, error)
    residual[:, exact] = 0.0
    covariance[exact, :] = covariance[:, exact] = 0.0
    draws = np.zeros((num_resamples, len(value)))
    draws[:, ~exact] = _draws(residual[:, ~exact], denominator, error[~exact], step, num_resamples, seed)
    with np.errstate(invalid="ignore"):
        num_effective = (residual**2).sum(axis=0) ** 2 / (residual**4).sum(axis=0)
    return Resampled(value, covariance, error, draws, num_effective)


def _draws(
    residual: np.ndarray, denominator: np.ndarray, error: np.ndarray, step: float, num_resamples: int, seed: int
) -> np.ndarray:
    """Resampled studentised ratios, `[R, T]`."""
    count, num_positions = residual.shape
    if not num_positions:
        return np.zeros((num_resamples, 0))
    sizes = denominator[:, None]
    terms = np.hstack([residual, residual**2, residual * sizes, sizes, sizes**2])  # [N, 3 T + 2]
    rng = np.random.default_rng(seed)
    found = []
    at_once = max(1, _WEIGHTS_AT_ONCE // count)
    for done in range(0, num_resamples, at_once):
        sums = _counts(rng, min(at_once, num_resamples - done), count) @ terms
        first, second, cross = (sums[:, i * num_positions : (i + 1) * num_positions] for i in range(3))
        total, squares = sums[:, -2:-1], sums[:, -1:]
        moved = first / total
        variance = count / (count - 1) * (second - 2 * moved * cross + moved**2 * squares) / total**2
        spread = np.sqrt(np.maximum(variance + step**2, (_LEAST_SPREAD * error) ** 2))
        unseen = step * rng.standard_normal(moved.shape) if step else 0.0
        found.append((moved + unseen) / spread)
    return np.concatenate(found)


def _counts(rng: np.random.Generator, rows: int, count: int) -> np.ndarray:
    """How often every example is drawn in each of some resamples, `[rows, N]`."""
    drawn = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(float)
