"""Bands that hold a whole profile at once, from per-example losses paired over the positions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from modeconn.errors import EvaluationError
from modeconn.evaluation.barrier import Baseline, check_positions
from modeconn.evaluation.paired import above_mixture, check_confidence, checked_records, smallest_step
from modeconn.evaluation.ratios import Ratios
from modeconn.evaluation.resampling import Resampled, resampled_mixture

Above = Literal["nothing", "chord", "mean"]


@dataclass(frozen=True)
class Band:
    """A profile with a band around it.

    Attributes:
        t: `[T]`.
        value: `[T]`, mean loss, or mean loss above the baseline.
        low: `[T]`.
        high: `[T]`.
        critical: How many standard errors the band reaches to either side.
    """

    t: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    critical: float


def profile_band(
    t: ArrayLike,
    loss_sums: ArrayLike,
    num_tokens: ArrayLike,
    *,
    above: Above = "nothing",
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Band:
    """A band that holds the true profile at all positions at once, with the given confidence.

    `L(t) +- q * se(t)` with one q: the quantile of `max_t |L*(t) - L(t)| / se*(t)` over resamples of the examples
    (sup-t band; Montiel Olea and Plagborg-Moller 2019, Journal of Applied Econometrics 34). At a single position
    it is the usual interval.

    Args:
        t: Positions, `[T]`.
        loss_sums: Summed loss of every example at every position, `[N, T]`, nats.
        num_tokens: Scored tokens of every example, `[N]`.
        above: "nothing" for the profile itself; "chord" or "mean" for what it has above that baseline, which needs
            both ends.
        confidence: That of the band.
        num_resamples: Resamples of the examples.
        seed: Of the resampling.

    Returns:
        The band.

    Raises:
        EvaluationError: If there are fewer than 8 examples, shapes differ, a loss is not finite, an example has no
            token, or a setting is out of range.

    Example:
        >>> losses = np.random.default_rng(0).gamma(2.0, size=(50, 3))
        >>> band = profile_band([0, 0.5, 1], losses, np.ones(50))
        >>> bool((band.low < losses.mean(axis=0)).all())
        True
    """
    check_above(above)
    check_confidence(confidence, num_resamples)
    positions = np.asarray(t, dtype=float) if above == "nothing" else check_positions(t)
    losses, tokens = checked_records(positions, loss_sums, num_tokens)
    only = Ratios(losses, tokens, smallest_step(losses, tokens))
    return band_over_tasks(
        positions, [only], above=above, confidence=confidence, num_resamples=num_resamples, seed=seed
    )


def band_over_tasks(
    t: np.ndarray, parts: Sequence[Ratios], *, above: Above, confidence: float, num_resamples: int, seed: int
) -> Band:
    """A band around the weighted mean of tasks' profiles, see `profile_band`.

    Args:
        t: `[T]`.
        parts: The sums and tokens of every task, at these positions.
        above: "nothing", "chord" or "mean".
        confidence: That of the band.
        num_resamples: Resamples of every task's examples.
        seed: Of the resampling.
    """
    if above == "nothing":
        sample = resampled_mixture(parts, num_resamples=num_resamples, seed=seed)
    else:
        sample = above_mixture(t, parts, above, num_resamples=num_resamples, seed=seed)
    critical = float(np.quantile(np.abs(sample.draws).max(axis=1), confidence))
    reach = critical * sample.error
    return Band(t, sample.value, sample.value - reach, sample.value + reach, critical)


def check_above(above: str) -> None:
    """Raise unless there are bands above it.

    Raises:
        EvaluationError: If there are none.
    """
    if above not in get_args(Above):
        raise EvaluationError(
            f"no band above {above!r}",
            expected=" or ".join(get_args(Above)),
            got=repr(above),
            remedy='leave it out for the profile itself, or use above="chord"',
        )


def resampled_above(
    t: np.ndarray, loss_sums: np.ndarray, num_tokens: np.ndarray, *, baseline: Baseline, num_resamples: int, seed: int
) -> Resampled:
    """What the mean loss of one task has above its baseline, see `above_mixture`."""
    only = Ratios(loss_sums, num_tokens, smallest_step(loss_sums, num_tokens))
    return above_mixture(t, [only], baseline, num_resamples=num_resamples, seed=seed)
