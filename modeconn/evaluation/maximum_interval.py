"""The interval of the largest of several means, and what is known of a barrier."""

from dataclasses import dataclass

import numpy as np

from modeconn.evaluation.resampled_contrasts import ResampledContrasts
from modeconn.evaluation.resampling import Resampled

# How much of the error is allowed to the low end. A maximum over noisy positions errs upwards, so that the high end
# is missed less often than it may be: of 0.5, 0.7, 0.8 and 0.9, this came nearest to 95 % in simulations.
_LOW_SHARE = 0.7
# Below so many effective examples at the top the interval may be too short. The cells that it covers in less than 93 %
# in analysis/benchmarks/coverage.py are flagged by this in 60 to 90 % of cases, normal losses in 0 to 4 %.
FEW_EFFECTIVE = 6.0
_Sample = Resampled | ResampledContrasts


@dataclass(frozen=True)
class BarrierInterval:
    """A barrier with what is known about it.

    Attributes:
        height: The highest point of the measured profile above its baseline; too high on average. Of the average,
            the average.
        t: Where it is reached; the first place of several. NaN of the average.
        low: Low end of the interval of the true height.
        high: High end.
        corrected: The estimate without the bias of a maximum: half of such estimates are too high, at most.
        p_value: Of "nowhere does the true profile lie above its baseline", of the average: "not on average".
        num_effective: How many examples carry the variance at `t`; about N / 3 of normal losses.
        num_examples: N.
        confidence: That of the interval.
        num_resamples: Resamples of the examples.
        seed: Of the resampling.
        start: Where the chord begins that the profile is highest above; elsewhere than at 0 for the convexity gap only.
        end: Where it ends.
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
    start: float = 0.0
    end: float = 1.0

    @property
    def half_width(self) -> float:
        """Half of the distance of high and low."""
        return (self.high - self.low) / 2

    @property
    def doubtful(self) -> bool:
        """Whether so few examples carry the variance that the interval may be too short."""
        return self.num_effective < FEW_EFFECTIVE


def interval_of_maximum(
    t: np.ndarray, sample: _Sample, *, confidence: float, num_examples: int, seed: int
) -> BarrierInterval:
    """The interval of the largest of T means, or of 0 if none is above it, see `barrier_interval`.

    Args:
        t: `[T]`, where each is reached.
        sample: The means above their baseline, with their scatter.
        confidence: That of the interval.
        num_examples: N.
        seed: That the sample was drawn with, to be recorded.
    """
    highest = int(sample.value.argmax())
    tail = 1 - confidence
    cautious = _cautious(sample, num_examples)
    possible = sample.possible_maxima(cautious)
    critical, middle = np.quantile(sample.largest(possible), (1 - _LOW_SHARE * tail, 0.5))  # drawn once: it is costly
    return BarrierInterval(
        height=max(0.0, float(sample.value[highest])),
        t=float(t[highest]),
        low=max(0.0, _low_end(sample, possible, critical)),
        high=max(0.0, _high_end(sample, 1 - (1 - _LOW_SHARE) * tail)),
        corrected=max(0.0, _low_end(sample, possible, middle)),
        p_value=_p_value(sample, cautious),
        num_effective=sample.effective(_top(sample)),
        num_examples=num_examples,
        confidence=confidence,
        num_resamples=sample.num_resamples,
        seed=seed,
    )


def _cautious(sample: _Sample, num_examples: int) -> float:
    """Standard errors that no position exceeds by chance, but for one case in `10 log N`."""
    everywhere = np.ones(len(sample.value), dtype=bool)
    return float(np.quantile(sample.largest(everywhere), 1 - 0.1 / np.log(num_examples)))


def _low_end(sample: _Sample, possible: np.ndarray, critical: float) -> float:
    """What the largest mean exceeds unless a possible maximum is off by more than `critical` standard errors."""
    # An exact mean needs no margin; it is a lower bound also where it cannot be the largest.
    bounds = sample.value - np.where(sample.scatters, critical, 0.0) * sample.error
    return float(bounds[possible | ~sample.scatters].max())


def _high_end(sample: _Sample, level: float) -> float:
    """What the largest mean stays below with probability `level`."""
    return float((sample.value - sample.quantile(1 - level) * sample.error).max())


def _p_value(sample: _Sample, cautious: float) -> float:
    """How often the largest studentised mean would be as large if none were above 0.

    Positions that are clearly below 0 take no part: they would only blunt the test (moment selection; Andrews and
    Soares 2010, Econometrica 78).
    """
    best = float("inf") if (sample.value[~sample.scatters] > 0).any() else -float("inf")
    counted = sample.scatters & (sample.value >= -cautious * sample.error)
    if counted.any():
        best = max(best, float((sample.value[counted] / sample.error[counted]).max()))
        exceeding = int((sample.largest(counted) >= best).sum())
    else:
        exceeding = 0 if best > 0 else sample.num_resamples
    return (1 + exceeding) / (1 + sample.num_resamples)


def _top(sample: _Sample) -> int:
    """The highest position of those that scatter; any, if none does."""
    return int(np.where(sample.scatters, sample.value, -np.inf).argmax())
