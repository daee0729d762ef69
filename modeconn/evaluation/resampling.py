"""How far means along a path may be from what other examples would give: the studentised bootstrap of ratios."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from modeconn.evaluation.ratios import Ratios

ROUNDING = 1e-12  # of the largest value: below, a standard error is rounding
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

    @property
    def num_resamples(self) -> int:
        """R."""
        return len(self.draws)

    def largest(self, which: np.ndarray) -> np.ndarray:
        """The largest draw of every resample among some positions, `[T] -> [R]`.

        Args:
            which: `[T]`, at least one true.
        """
        return self.draws[:, which].max(axis=1)

    def quantile(self, level: float) -> np.ndarray:
        """A quantile of each position's draws, `[T]`."""
        return np.quantile(self.draws, level, axis=0)

    def effective(self, place: int) -> float:
        """How many examples carry the variance of one mean."""
        return float(self.num_effective[place])

    def possible_maxima(self, cautious: float) -> np.ndarray:
        """Which positions may be the true maximum, `[T]`: none other is higher by more than the errors explain.

        Args:
            cautious: How many standard errors of a difference are believed to be chance.
        """
        variance = np.diag(self.covariance)
        error = np.sqrt(np.maximum(variance[:, None] + variance - 2 * self.covariance, 0.0))  # [T, T], of differences
        behind = self.value - self.value[:, None]  # [T, T], column less row
        return np.all(behind <= cautious * error, axis=1)


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
    only = Ratios(numerator, denominator, step)
    return resampled_mixture([only], num_resamples=num_resamples, seed=seed, certain=certain)


def resampled_mixture(
    parts: Sequence[Ratios], *, num_resamples: int, seed: int, certain: np.ndarray | None = None
) -> Resampled:
    """Weighted sums of the ratios of several tasks, whose examples are resampled apart; see `resampled_ratios`.

    Tasks have examples of their own, so that variances add up: `var = sum_k w_k^2 var_k`, in every resample too.

    Args:
        parts: The ratios of every task, at the same positions.
        num_resamples: R.
        seed: Of the generator.
        certain: `[T]`, positions whose value is known without examples.

    Returns:
        The sums and their scatter.
    """
    value = np.sum([part.weight * part.value for part in parts], axis=0)  # [T]
    shares = [part.shares for part in parts]  # [N, T] each
    unseen = sum((part.weight * part.step) ** 2 for part in parts)
    covariance = np.sum([own.T @ own for own in shares], axis=0) + unseen * np.eye(len(value))
    error = np.sqrt(np.diag(covariance))
    exact = (error <= ROUNDING * sum(part.scale for part in parts)) | (False if certain is None else certain)
    error = np.where(exact, 0.0, error)
    for own in [covariance, covariance.T, *(own.T for own in shares)]:
        own[exact] = 0.0
    draws = np.zeros((num_resamples, len(value)))
    draws[:, ~exact] = _draws([part.at(~exact) for part in parts], error[~exact], num_resamples, seed)
    second, fourth = (np.sum([(own**power).sum(axis=0) for own in shares], axis=0) for power in (2, 4))
    with np.errstate(invalid="ignore"):
        num_effective = second**2 / fourth
    return Resampled(value, covariance, error, draws, num_effective)


def counts_of_examples(rng: np.random.Generator, num_resamples: int, count: int) -> Iterator[np.ndarray]:
    """How often every example is drawn in each resample, `[R, N]` in blocks of rows that fit in memory."""
    at_once = max(1, _WEIGHTS_AT_ONCE // count)
    for done in range(0, num_resamples, at_once):
        yield _counts(rng, min(at_once, num_resamples - done), count)


def spread(variance: np.ndarray, error: np.ndarray) -> np.ndarray:
    """The standard errors of resamples, kept from being next to nothing, `[...]`."""
    return np.sqrt(np.maximum(variance, (_LEAST_SPREAD * error) ** 2))


def _draws(parts: Sequence[Ratios], error: np.ndarray, num_resamples: int, seed: int) -> np.ndarray:
    """Resampled studentised sums of ratios, `[R, T]`."""
    if not len(error):
        return np.zeros((num_resamples, 0))
    rng = np.random.default_rng(seed)
    moved, variance = np.zeros((2, num_resamples, len(error)))
    for part in parts:
        own_moved, own_variance = _moves(part, num_resamples, rng)
        moved += part.weight * own_moved
        variance += part.weight**2 * own_variance
    return moved / spread(variance, error)


def _moves(part: Ratios, num_resamples: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """How far every resample moves the ratios, and its own estimate of their variance, `[R, T]` each."""
    residual = part.residuals
    count, num_positions = residual.shape
    sizes = part.denominator[:, None]
    terms = np.hstack([residual, residual**2, residual * sizes, sizes, sizes**2])  # [N, 3 T + 2]
    found, variances = [], []
    for counts in counts_of_examples(rng, num_resamples, count):
        sums = counts @ terms
        first, second, cross = (sums[:, i * num_positions : (i + 1) * num_positions] for i in range(3))
        total, squares = sums[:, -2:-1], sums[:, -1:]
        moved = first / total
        variance = count / (count - 1) * (second - 2 * moved * cross + moved**2 * squares) / total**2
        variances.append(variance + part.step**2)
        found.append(moved + (part.step * rng.standard_normal(moved.shape) if part.step else 0.0))
    return np.concatenate(found), np.concatenate(variances)


def _counts(rng: np.random.Generator, rows: int, count: int) -> np.ndarray:
    """How often every example is drawn in each of some resamples, `[rows, N]`."""
    drawn = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(float)
