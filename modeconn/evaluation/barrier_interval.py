"""How sure a barrier is: an interval, an estimate without the bias of a maximum, and a test of "no barrier"."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from modeconn.evaluation.bands import resampled_above
from modeconn.evaluation.barrier import Baseline, check_positions
from modeconn.evaluation.paired import check_confidence, checked_records
from modeconn.evaluation.resampling import Resampled

# How much of the error is allowed to the low end. A maximum over noisy positions errs upwards, so that the high end
# is missed less often than it may be: of 0.5, 0.7, 0.8 and 0.9, this came nearest to 95 % in simulations.
_LOW_SHARE = 0.7
# Below so many effective examples at the top the interval may be too short. The cells that it covers in less than 93 %
# in analysis/benchmarks/coverage.py are flagged by this in 60 to 90 % of cases, normal losses in 0 to 4 %.
FEW_EFFECTIVE = 6.0


@dataclass(frozen=True)
class BarrierInterval:
    """A barrier with what is known about it.

    Attributes:
        height: The highest point of the measured profile above its baseline; too high on average.
        t: Where it is reached; the first place of several.
        low: Low end of the interval of the true height.
        high: High end.
        corrected: The estimate without the bias of a maximum: half of such estimates are too high, at most.
        p_value: Of "nowhere does the true profile lie above its baseline".
        num_effective: How many examples carry the variance at `t`; about N / 3 of normal losses.
        num_examples: N.
        confidence: That of the interval.
        num_resamples: Resamples of the examples.
        seed: Of the resampling.
    """

    height: float
    t: float
    low: float
    high: float
    corrected: float
    p_value: float
    num_effective: float
    num_examples: int
    confidence: float
    num_resamples: int
    seed: int

    @property
    def half_width(self) -> float:
        """Half of the distance of high and low."""
        return (self.high - self.low) / 2

    @property
    def doubtful(self) -> bool:
        """Whether so few examples carry the variance that the interval may be too short."""
        return self.num_effective < FEW_EFFECTIVE


def barrier_interval(
    t: ArrayLike,
    loss_sums: ArrayLike,
    num_tokens: ArrayLike,
    *,
    baseline: Baseline = "chord",
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> BarrierInterval:
    """The interval of the barrier `max_t m(t)`, `m(t) = L(t) - B(t)`, over other examples of the same kind.

    The low end is `max_t [m(t) - k se(t)]` over the positions that may be the true maximum, k the quantile of
    `max_t (m*(t) - m(t)) / se*(t)` over them (Chernozhukov, Lee and Rosen 2013, arXiv 0907.3503). A position is left
    out if another is higher by more than the errors of their *difference* explain. The high end is `max_t [m(t) +
    u(t) se(t)]` with the quantile u(t) of the position alone: whichever position is the true maximum, it is below. `*`
    is a resample of the examples, all positions together. The corrected estimate is the low end at level 1/2.

    It is an interval of the highest of the given positions; between them nothing is known. Positions may be those of an
    interpolant, if its values are linear in the losses and every example's losses are interpolated alike.

    Args:
        t: Positions, `[T]`, from 0 to 1.
        loss_sums: Summed loss of every example at every position, `[N, T]`, nats; `1 - score` for the error.
        num_tokens: Scored tokens of every example, `[N]`; ones for the error.
        baseline: "chord" or "mean". Against the mean, ends that differ are a barrier.
        confidence: That of the interval.
        num_resamples: Resamples of the examples; the p-value is at least `1 / (num_resamples + 1)`.
        seed: Of the resampling.

    Returns:
        The barrier, its interval and its test.

    Raises:
        EvaluationError: If the positions are not increasing from 0 to 1, there are fewer than 8 examples, shapes
            differ, a loss is not finite, an example has no token, or a setting is out of range.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> losses = 1 + np.array([0, 0.5, 0]) + rng.normal(size=(200, 1)) + 0.1 * rng.normal(size=(200, 3))
        >>> found = barrier_interval([0, 0.5, 1], losses, np.ones(200))
        >>> found.low < 0.5 < found.high, found.p_value < 0.01
        (True, True)
    """
    check_confidence(confidence, num_resamples)
    positions = check_positions(t)
    losses, tokens = checked_records(positions, loss_sums, num_tokens)
    sample = resampled_above(
        positions, losses, tokens, baseline=baseline, num_resamples=num_resamples, seed=seed
    )  # fmt: skip
    return interval_of_maximum(positions, sample, confidence=confidence, num_examples=len(losses), seed=seed)


def interval_of_maximum(
    t: np.ndarray, sample: Resampled, *, confidence: float, num_examples: int, seed: int
) -> BarrierInterval:
    """The interval of the largest of T means, see `barrier_interval`.

    Args:
        t: `[T]`.
        sample: The means above their baseline, with their scatter.
        confidence: That of the interval.
        num_examples: N.
        seed: That the sample was drawn with, to be recorded.
    """
    highest = int(sample.value.argmax())
    tail = 1 - confidence
    cautious = _cautious(sample, num_examples)
    possible = possible_maxima(sample, cautious)
    return BarrierInterval(
        height=float(sample.value[highest]),
        t=float(t[highest]),
        low=max(0.0, _low_end(sample, possible, 1 - _LOW_SHARE * tail)),
        high=_high_end(sample, 1 - (1 - _LOW_SHARE) * tail),
        corrected=max(0.0, _low_end(sample, possible, 0.5)),
        p_value=_p_value(sample, cautious),
        num_effective=float(sample.num_effective[_top(sample)]),
        num_examples=num_examples,
        confidence=confidence,
        num_resamples=len(sample.draws),
        seed=seed,
    )


def possible_maxima(sample: Resampled, cautious: float) -> np.ndarray:
    """Which positions may be the true maximum, `[T]`: none other is higher by more than the errors explain.

    Args:
        sample: The means with their scatter.
        cautious: How many standard errors of a difference are believed to be chance.
    """
    variance = np.diag(sample.covariance)
    error = np.sqrt(np.maximum(variance[:, None] + variance - 2 * sample.covariance, 0.0))  # [T, T], of differences
    behind = sample.value - sample.value[:, None]  # [T, T], column less row
    return np.all(behind <= cautious * error, axis=1, keepdims=True)[:, 0]


def _cautious(sample: Resampled, num_examples: int) -> float:
    """Standard errors that no position exceeds by chance, but for one case in `10 log N`."""
    return float(np.quantile(sample.draws.max(axis=1), 1 - 0.1 / np.log(num_examples)))


def _low_end(sample: Resampled, possible: np.ndarray, level: float) -> float:
    """What the largest mean exceeds with probability `level`."""
    critical = np.quantile(sample.draws[:, possible].max(axis=1), level)
    # An exact mean needs no margin; it is a lower bound also where it cannot be the largest.
    bounds = sample.value - np.where(sample.scatters, critical, 0.0) * sample.error
    return float(bounds[possible | ~sample.scatters].max())


def _high_end(sample: Resampled, level: float) -> float:
    """What the largest mean stays below with probability `level`."""
    return float((sample.value - np.quantile(sample.draws, 1 - level, axis=0) * sample.error).max())


def _p_value(sample: Resampled, cautious: float) -> float:
    """How often the largest studentised mean would be as large if none were above 0.

    Positions that are clearly below 0 take no part: they would only blunt the test (moment selection; Andrews and
    Soares 2010, Econometrica 78).
    """
    best = float("inf") if (sample.value[~sample.scatters] > 0).any() else -float("inf")
    counted = sample.scatters & (sample.value >= -cautious * sample.error)
    if counted.any():
        best = max(best, float((sample.value[counted] / sample.error[counted]).max()))
        exceeding = int((sample.draws[:, counted].max(axis=1) >= best).sum())
    else:
        exceeding = 0 if best > 0 else len(sample.draws)
    return (1 + exceeding) / (1 + len(sample.draws))


def _top(sample: Resampled) -> int:
    """The highest position of those that scatter; any, if none does."""
    return int(np.where(sample.scatters, sample.value, -np.inf).argmax())
