"""How sure a barrier is: an interval, an estimate without the bias of a maximum, and a test of "no barrier"."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from modeconn.evaluation.barrier import check_positions
from modeconn.evaluation.definitions import (
    Definition,
    check_definition,
    convexity_gap,
    pointwise,
    trapezoid_weights,
)
from modeconn.evaluation.maximum_interval import BarrierInterval, interval_of_maximum
from modeconn.evaluation.mean_interval import mean_intervals
from modeconn.evaluation.paired import above_baseline, above_mixture, check_confidence, checked_records, smallest_step
from modeconn.evaluation.ratios import Ratios
from modeconn.evaluation.resampled_contrasts import resampled_sub_intervals
from modeconn.evaluation.resampling import Resampled, resampled_mixture

# The parts of a path grow with the cube of its positions: of 69 they can take two minutes, of 41 three seconds.
_MOST_ENDS_OF_PARTS = 41


def barrier_interval(
    t: ArrayLike,
    loss_sums: ArrayLike,
    num_tokens: ArrayLike,
    *,
    baseline: Definition = "chord",
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

    Every definition of a barrier is the largest of some contrasts `sum_t c(t) L(t)`, and what is said above of
    positions holds of contrasts: of T against the chord or the mean, of T (T - 1) (T - 2) / 6 for the convexity gap.
    Of more than 41 positions, parts begin, peak and end at 41 for the gap's interval; its high end is also that of the
    gap's own part. The average is one contrast, with the usual interval, and may be negative.

    It is an interval of the highest of the given positions; between them nothing is known. Positions may be those of an
    interpolant, if its values are linear in the losses and every example's losses are interpolated alike.

    Args:
        t: Positions, `[T]`, from 0 to 1.
        loss_sums: Summed loss of every example at every position, `[N, T]`, nats; `1 - score` for the error.
        num_tokens: Scored tokens of every example, `[N]`; ones for the error.
        baseline: "chord"; "mean" or "instability", which are one thing and where ends that differ are a barrier;
            "convexity", the gap over all parts of the path; "average", by the trapezoid rule.
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
    check_definition(baseline)
    check_confidence(confidence, num_resamples)
    positions = check_positions(t)
    losses, tokens = checked_records(positions, loss_sums, num_tokens)
    only = Ratios(losses, tokens, smallest_step(losses, tokens))
    return interval_over_tasks(
        positions, [only], baseline=baseline, confidence=confidence, num_resamples=num_resamples, seed=seed
    )


def interval_over_tasks(
    t: np.ndarray,
    parts: Sequence[Ratios],
    *,
    baseline: Definition,
    confidence: float,
    num_resamples: int,
    seed: int,
    averages: Sequence[np.ndarray] | None = None,
) -> BarrierInterval:
    """The interval of the barrier of a weighted mean of tasks, see `barrier_interval`.

    Args:
        t: `[T]`, from 0 to 1.
        parts: The sums and tokens of every task, at these positions.
        baseline: The definition.
        confidence: That of the interval.
        num_resamples: Resamples of every task's examples.
        seed: Of the resampling.
        averages: Every task's weights of the integral over the path, `[T]` each, where they are not those of the
            trapezoid rule.
    """
    draws: dict[str, Any] = {"num_resamples": num_resamples, "seed": seed}
    count = sum(len(part.denominator) for part in parts)
    told: dict[str, Any] = {"confidence": confidence, "num_examples": count, "seed": seed}
    if baseline == "average":
        weights = averages or [trapezoid_weights(t)] * len(parts)
        above = [above_baseline(t, part.numerator, "chord") for part in parts]
        means = [p._replace(numerator=(a @ w)[:, None]) for p, a, w in zip(parts, above, weights, strict=True)]
        smallest = min(len(part.denominator) for part in parts)
        return _interval_of_mean(resampled_mixture(means, **draws), smallest, **told)
    floor = pointwise(baseline)
    if floor is not None:
        return interval_of_maximum(t, above_mixture(t, parts, floor, **draws), **told)
    return _interval_of_gap(t, parts, draws, told)


def _interval_of_gap(
    t: np.ndarray, parts: Sequence[Ratios], draws: dict[str, Any], told: dict[str, Any]
) -> BarrierInterval:
    """The interval of the convexity gap.

    The part that was found to have the gap among all positions takes no part in the low end and in the test, where it
    is not of the few: a contrast that was chosen by looking at many would have to pay for them. It counts for the high
    end, where every contrast pays for itself.
    """
    loss = np.sum([part.weight * part.value for part in parts], axis=0)  # [T]
    gap = convexity_gap(t, loss)
    few = np.linspace(0, len(t) - 1, min(len(t), _MOST_ENDS_OF_PARTS)).round().astype(int)
    found = _interval_of_parts(t[few], [part.at(few) for part in parts], draws, told)
    own = np.searchsorted(t, (gap.start, gap.t, gap.end))
    if gap.height > 0 and not np.isin(own, few).all():
        alone = _interval_of_parts(t[own], [part.at(own) for part in parts], draws, told)
        found = replace(found, high=max(found.high, alone.high), num_effective=alone.num_effective)
    return replace(found, height=gap.height, t=gap.t, start=gap.start, end=gap.end)


def _interval_of_parts(
    t: np.ndarray, parts: Sequence[Ratios], draws: dict[str, Any], told: dict[str, Any]
) -> BarrierInterval:
    """The interval of the largest height above the chord of any part between some positions."""
    sample = resampled_sub_intervals(t, parts, **draws)
    if not len(sample.family):  # nothing lies between two positions
        return BarrierInterval(0.0, 0.0, 0.0, 0.0, 0.0, 1.0, np.nan, num_resamples=draws["num_resamples"], **told)
    return interval_of_maximum(t[sample.family.middle], sample, **told)


def _interval_of_mean(
    sample: Resampled, smallest: int, *, confidence: float, num_examples: int, seed: int
) -> BarrierInterval:
    """The interval of the one mean of a sample, and of how many examples the smallest task has."""
    found = mean_intervals(sample, confidence=confidence, num_examples=smallest)
    value, low, high, corrected, p_value = (float(one[0]) for one in found)
    return BarrierInterval(
        value, np.nan, low, high, corrected, p_value, sample.effective(0), num_examples, confidence,
        sample.num_resamples, seed,
    )  # fmt: skip
