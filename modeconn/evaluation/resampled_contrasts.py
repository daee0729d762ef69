"""The scatter of what a profile has above the chord of every part of a path."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from modeconn.evaluation.paired import above_baseline
from modeconn.evaluation.ratios import Ratios
from modeconn.evaluation.resampling import ROUNDING, counts_of_examples, spread
from modeconn.evaluation.sub_intervals import SubIntervals

_AT_ONCE = 4_000_000  # draws held in memory, 32 MB
_NUM_RIVALS = 200  # contrasts that the others are compared with


@dataclass(frozen=True)
class ResampledContrasts:
    """Contrasts of T means with their scatter; like `Resampled`, but the draws are made in blocks when asked for.

    Attributes:
        family: The C contrasts.
        value: `[C]`.
        error: `[C]`, standard errors; 0 where a contrast is exact.
        shares: What each example adds to the error of each mean, `[N, T]` for every task.
        unseen: Variance of what no example shows, see `Ratios.step`.
        moved: `[T, R]`, how far every resample moves the means.
        noise: `[T, R]`, normal noise of what no example shows.
        products: `[P, R]`, every resample's covariances of the means, packed; P = T (T + 1) / 2.
    """

    family: SubIntervals
    value: np.ndarray
    error: np.ndarray
    shares: Sequence[np.ndarray]
    unseen: float
    moved: np.ndarray
    noise: np.ndarray
    products: np.ndarray

    @property
    def scatters(self) -> np.ndarray:
        """`[C]`, where a contrast is not exact."""
        return self.error > 0

    @property
    def num_resamples(self) -> int:
        """R."""
        return self.moved.shape[1]

    def largest(self, which: np.ndarray) -> np.ndarray:
        """The largest draw of every resample among some contrasts, `[C] -> [R]`; at least one of `which` is true."""
        found = np.full(self.num_resamples, -np.inf)
        for _, draws in self._blocks(np.flatnonzero(which)):
            np.maximum(found, draws.max(axis=0), out=found)
        return found

    def quantile(self, level: float) -> np.ndarray:
        """A quantile of each contrast's draws, `[C]`."""
        found = np.zeros(len(self.value))
        for block, draws in self._blocks(np.arange(len(self.value))):
            found[block] = np.quantile(draws, level, axis=1, overwrite_input=True)
        return found

    def effective(self, place: int) -> float:
        """How many examples carry the variance of one contrast; NaN where it is exact."""
        if not self.error[place]:
            return np.nan
        row = self.family.weights[[place]]
        own = np.concatenate([row @ shares.T for shares in self.shares], axis=1)
        with np.errstate(invalid="ignore"):
            return float((own**2).sum() ** 2 / (own**4).sum())

    def possible_maxima(self, cautious: float) -> np.ndarray:
        """Which contrasts may be the true maximum, `[C]`: none of the highest is higher by more than errors explain.

        Compared with fewer rivals, more may be left, which errs on the safe side.

        Args:
            cautious: How many standard errors of a difference are believed to be chance.
        """
        rivals = np.argsort(-self.value, kind="stable")[:_NUM_RIVALS]
        covariance = np.sum([own.T @ own for own in self.shares], axis=0)
        theirs = covariance @ self.family.weights[rivals].T.toarray()  # [T, V]
        found = np.ones(len(self.value), dtype=bool)
        for block in _split(np.arange(len(self.value)), _AT_ONCE // _NUM_RIVALS):
            shared = self.family.weights[block] @ theirs  # [c, V]
            same = self.family.middle[block][:, None] == self.family.middle[rivals]
            shared += self.unseen * same
            variance = self.error[block][:, None] ** 2 + self.error[rivals] ** 2 - 2 * shared
            behind = self.value[rivals] - self.value[block][:, None]
            found[block] = (behind <= cautious * np.sqrt(np.maximum(variance, 0.0))).all(axis=1)
        return found

    def _blocks(self, which: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Some contrasts in blocks, with their studentised draws `[c, R]`; 0 where a contrast is exact."""
        squares = self.family.squares(len(self.moved))
        for block in _split(which, max(1, _AT_ONCE // self.num_resamples)):
            moved = self.family.weights[block] @ self.moved
            variance = squares[block] @ self.products
            if self.unseen:
                moved += self.noise[self.family.middle[block]]
                variance += self.unseen
            error = self.error[block][:, None]
            scatters = error > 0
            yield block, np.where(scatters, moved, 0.0) / np.where(scatters, spread(variance, error), 1.0)


def resampled_sub_intervals(
    t: np.ndarray, parts: Sequence[Ratios], *, num_resamples: int, seed: int
) -> ResampledContrasts:
    """What weighted sums of tasks' ratios have above the chords of all parts of a path, with its scatter.

    A resample's covariances of the T means give the error of every contrast, so that the cost of the resampling grows
    with T^2, and only that of the draws with T^3.

    Args:
        t: `[T]`, from 0 to 1.
        parts: The ratios of every task at these positions.
        num_resamples: R.
        seed: Of the generator.
    """
    family = SubIntervals.of(t)
    exact = ROUNDING * sum(part.scale for part in parts)
    # No chord changes what lies above a chord, and without its own the covariances lose fewer digits.
    parts = [part._replace(numerator=above_baseline(t, part.numerator, "chord")) for part in parts]
    value = family.weights @ np.sum([part.weight * part.value for part in parts], axis=0)
    shares = [part.shares for part in parts]
    unseen = sum((part.weight * part.step) ** 2 for part in parts)
    variance = np.full(len(family), unseen)
    for own in shares:
        for block in _split(np.arange(len(family)), max(1, _AT_ONCE // len(own))):
            variance[block] += ((family.weights[block] @ own.T) ** 2).sum(axis=1)
    error = np.sqrt(variance)
    error[error <= exact] = 0.0
    rng = np.random.default_rng(seed)
    moved, products = np.zeros((len(t), num_resamples)), np.zeros((len(t) * (len(t) + 1) // 2, num_resamples))
    for part in parts:
        own_moved, own_products = _moves(part, num_resamples, rng)
        moved += part.weight * own_moved
        products += part.weight**2 * own_products
    noise = np.sqrt(unseen) * rng.standard_normal(moved.shape)
    return ResampledContrasts(family, value, error, shares, unseen, moved, noise, products)


def _moves(part: Ratios, num_resamples: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """How far every resample moves the ratios, `[T, R]`, and its estimate of their covariances, `[P, R]`."""
    residual, sizes = part.residuals, part.denominator
    count, num_positions = residual.shape
    rows, others = np.triu_indices(num_positions)
    across = np.ascontiguousarray(residual.T)  # [T, N]: products of whole rows are quick
    blocks = list(_split(np.arange(len(rows)), max(1, _AT_ONCE // count)))
    found, covariances = [], []
    for counts in counts_of_examples(rng, num_resamples, count):
        total = counts @ sizes  # [r]
        moved = (residual.T @ counts.T) / total  # [T, r]
        cross = (residual * sizes[:, None]).T @ counts.T  # [T, r]
        second = np.concatenate([(across[rows[b]] * across[others[b]]) @ counts.T for b in blocks])  # [P, r]
        second -= moved[rows] * cross[others] + moved[others] * cross[rows]
        second += moved[rows] * moved[others] * (counts @ sizes**2)
        covariances.append(count / (count - 1) * second / total**2)
        found.append(moved)
    return np.concatenate(found, axis=1), np.concatenate(covariances, axis=1)


def _split(places: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Places in blocks of at most some size."""
    for start in range(0, len(places), size):
        yield places[start : start + size]
