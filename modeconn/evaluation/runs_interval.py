"""The barrier of a recipe: what several runs say about runs that were not made, over examples that were not seen."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from modeconn.errors import EvaluationError
from modeconn.evaluation.barrier import Baseline, check_positions
from modeconn.evaluation.barrier_interval import BarrierInterval, interval_of_maximum
from modeconn.evaluation.intervals import MIN_EXAMPLES
from modeconn.evaluation.paired import above_baseline, check_confidence, check_values
from modeconn.evaluation.resampling import Resampled


def barrier_interval_over_runs(
    t: ArrayLike,
    loss_sums: ArrayLike,
    num_tokens: ArrayLike,
    *,
    baseline: Baseline = "chord",
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> BarrierInterval:
    """The interval of the barrier of the mean profile over runs, where both runs and examples are samples.

    All runs are evaluated on the same examples, so that the variance of the mean has two parts, `var_runs / S` and
    `var_examples / N`; what run and example have in common is counted in both, which errs on the safe side. With few
    runs the first is known badly: the quantiles are those of Student's t with the degrees of freedom of
    Satterthwaite (1946), drawn for all positions together.

    It is the barrier of the mean profile. If runs have their maxima in different places, the mean of their barriers
    is larger.

    Args:
        t: Positions, `[T]`, from 0 to 1.
        loss_sums: Summed losses, `[S, N, T]`, nats, of S runs that differ in their seed.
        num_tokens: Scored tokens, `[N]`.
        baseline: "chord" or "mean".
        confidence: That of the interval.
        num_resamples: Draws of the mean profile.
        seed: Of the draws.

    Returns:
        The barrier of the mean profile, its interval and its test.

    Raises:
        EvaluationError: If the positions are not increasing from 0 to 1, there are fewer than 2 runs or 8 examples,
            shapes differ, a loss is not finite, an example has no token, or a setting is out of range.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> heights = np.array([0.9, 1.1, 1.0, 1.2])[:, None, None] * np.array([0, 1, 0])
        >>> found = barrier_interval_over_runs([0, 0.5, 1], heights + rng.normal(size=(1, 100, 3)), np.ones(100))
        >>> found.low < 1 < found.high
        True
    """
    check_confidence(confidence, num_resamples)
    positions = check_positions(t)
    losses, tokens = _checked(positions, loss_sums, num_tokens)
    above = above_baseline(positions, losses, baseline)  # [S, N, T]
    sample = _two_levels(above, tokens, num_resamples, seed)
    return interval_of_maximum(positions, sample, confidence=confidence, num_examples=len(tokens), seed=seed)


def _two_levels(above: np.ndarray, tokens: np.ndarray, num_resamples: int, seed: int) -> Resampled:
    """The mean over runs of ratios of sums, with the scatter of both levels."""
    num_runs, count, _ = above.shape
    by_run = above.sum(axis=1) / tokens.sum()  # [S, T]
    value = by_run.mean(axis=0)
    runs = (by_run - value) / np.sqrt(num_runs * (num_runs - 1))  # [S, T], one row a run's share
    residual = above.mean(axis=0) - value * tokens[:, None]  # [N, T]
    examples = residual / tokens.sum() * np.sqrt(count / (count - 1))
    variances = (runs**2).sum(axis=0), (examples**2).sum(axis=0)  # [T] each
    total = sum(variances)
    exact = total <= (1e-12 * np.abs(above).max(initial=0.0) / tokens.sum()) ** 2
    error = np.where(exact, 0.0, np.sqrt(total))
    covariance = runs.T @ runs + examples.T @ examples
    rng = np.random.default_rng(seed)
    moved = rng.standard_normal((num_resamples, num_runs)) @ runs
    moved += rng.standard_normal((num_resamples, count)) @ examples  # [R, T]
    draws = np.zeros_like(moved)
    widening = _student(rng.random(num_resamples), _degrees(variances, num_runs, count)[~exact])
    draws[:, ~exact] = moved[:, ~exact] / error[~exact] * widening
    with np.errstate(invalid="ignore"):
        num_effective = (examples**2).sum(axis=0) ** 2 / (examples**4).sum(axis=0)
    return Resampled(value, covariance, error, draws, num_effective)


def _degrees(variances: tuple[np.ndarray, np.ndarray], num_runs: int, count: int) -> np.ndarray:
    """Satterthwaite's degrees of freedom, `[T]`."""
    runs, examples = variances
    with np.errstate(invalid="ignore"):
        return (runs + examples) ** 2 / (runs**2 / (num_runs - 1) + examples**2 / (count - 1))


def _student(chance: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """What makes a normal draw one of Student's t, `[R, T]`; a draw's positions are widened alike."""
    return np.sqrt(degrees / stats.chi2.ppf(chance[:, None], degrees))


def _checked(t: np.ndarray, loss_sums: ArrayLike, num_tokens: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Losses `[S, N, T]` and tokens `[N]`, as float64."""
    losses, tokens = np.asarray(loss_sums, dtype=float), np.asarray(num_tokens, dtype=float)
    if losses.ndim != 3 or tokens.ndim != 1 or losses.shape[1:] != (len(tokens), len(t)):
        raise EvaluationError(
            "losses, tokens and positions do not fit together",
            expected=f"loss_sums of shape [S, N, {len(t)}] and num_tokens of shape [N]",
            got=f"shapes {list(losses.shape)} and {list(tokens.shape)}",
            remedy="stack the runs of one recipe, evaluated on the same examples",
        )
    if len(losses) < 2 or len(tokens) < MIN_EXAMPLES:
        raise EvaluationError(
            "too few runs or examples for an interval",
            expected=f"at least 2 runs and {MIN_EXAMPLES} examples",
            got=f"{len(losses)} runs and {len(tokens)} examples",
            remedy="use barrier_interval for one run, or report the point estimate alone",
        )
    check_values(losses, tokens)
    return losses, tokens
