"""Per-example losses paired over the positions of a path: what they must be, and what they have above a baseline."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from modeconn.errors import EvaluationError
from modeconn.evaluation.barrier import Baseline, check_baseline, without_rounding
from modeconn.evaluation.intervals import MIN_EXAMPLES
from modeconn.evaluation.ratios import Ratios
from modeconn.evaluation.resampling import Resampled, resampled_mixture

Metric = Literal["loss", "score"]


def above_baseline(t: np.ndarray, loss_sums: np.ndarray, baseline: Baseline) -> np.ndarray:
    """Every example's summed loss less its own baseline, `[..., T]`.

    Args:
        t: `[T]`, from 0 to 1.
        loss_sums: `[..., T]`.
        baseline: "chord" or "mean".

    Raises:
        EvaluationError: If the baseline is unknown.
    """
    check_baseline(baseline)
    start, end = loss_sums[..., :1], loss_sums[..., -1:]
    above = loss_sums - ((1 - t) * start + t * end if baseline == "chord" else (start + end) / 2)
    return without_rounding(above, loss_sums)


def above_mixture(
    t: np.ndarray, parts: Sequence[Ratios], baseline: Baseline, *, num_resamples: int, seed: int
) -> Resampled:
    """What a weighted mean of tasks' losses has above its baseline, `[T]`, with its scatter.

    The baseline is linear in the losses, so `L(t) - B(t)` is itself a ratio of sums over examples. Against the
    chord both ends are 0 without any uncertainty.

    Args:
        t: `[T]`, from 0 to 1.
        parts: The sums and tokens of every task.
        baseline: "chord" or "mean".
        num_resamples: Resamples of every task's examples.
        seed: Of the resampling.

    Raises:
        EvaluationError: If the baseline is unknown.
    """
    certain = (t == 0) | (t == 1) if baseline == "chord" else np.zeros(len(t), dtype=bool)
    above = [part._replace(numerator=above_baseline(t, part.numerator, baseline)) for part in parts]
    return resampled_mixture(above, num_resamples=num_resamples, seed=seed, certain=certain)


def smallest_step(values: np.ndarray, num_tokens: np.ndarray) -> float:
    """What one example that changes adds to a mean of zeros and ones, `1 / N`; 0 for other values.

    Where next to no example of N has changed, a resample of them knows of no scatter, though the next N may differ.
    """
    return 1 / num_tokens.size if (num_tokens == 1).all() and np.isin(values, (0.0, 1.0)).all() else 0.0


def checked_records(t: np.ndarray, loss_sums: ArrayLike, num_tokens: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Losses `[N, T]` and tokens `[N]` as float64.

    Raises:
        EvaluationError: If there are fewer than 8 examples, shapes differ, a loss is not finite, or an example has no
            token.
    """
    losses, tokens = np.asarray(loss_sums, dtype=float), np.asarray(num_tokens, dtype=float)
    if losses.ndim != 2 or losses.shape != (*tokens.shape, len(t)):
        raise EvaluationError(
            "losses, tokens and positions do not fit together",
            expected=f"loss_sums of shape [N, {len(t)}] and num_tokens of shape [N]",
            got=f"shapes {list(losses.shape)} and {list(tokens.shape)}",
            remedy="give one row an example and one column a position",
        )
    if len(losses) < MIN_EXAMPLES:
        raise EvaluationError(
            "too few examples for an interval",
            expected=f"at least {MIN_EXAMPLES} examples",
            got=str(len(losses)),
            remedy="report the point estimate alone, or evaluate more examples",
        )
    check_values(losses, tokens)
    return losses, tokens


def check_values(losses: np.ndarray, tokens: np.ndarray) -> None:
    """Raise unless every loss, `[..., N, T]`, is finite and every count of tokens positive.

    Raises:
        EvaluationError: Naming the first examples that are not.
    """
    others = tuple(axis for axis in range(losses.ndim) if axis != losses.ndim - 2)
    broken = np.asarray(~np.isfinite(losses).all(axis=others))  # [N]
    empty = ~(tokens > 0)  # [N]
    for wrong, what in ((broken, "a loss that is NaN or infinite"), (empty, "no scored token")):
        if wrong.any():
            which = ", ".join(map(str, np.flatnonzero(wrong)[:10]))
            raise EvaluationError(
                f"some examples have {what}",
                expected="finite losses and at least one scored token for every example",
                got=f"{wrong.sum()} of {len(wrong)} examples, the first at {which}",
                remedy="look at these examples; leave them out of all positions if they cannot be mended",
            )


def check_confidence(confidence: float, num_resamples: int) -> None:
    """Raise unless the confidence can be had from so many resamples.

    Raises:
        EvaluationError: If the confidence is not between 0.5 and 1, or the tail of the resamples has less than one.
    """
    if not 0.5 <= confidence < 1 or num_resamples * (1 - confidence) < 5 - 1e-6:
        raise EvaluationError(
            "no interval of this confidence",
            expected="a confidence from 0.5 to below 1, and at least 5 resamples outside of it",
            got=f"confidence={confidence:g} with num_resamples={num_resamples}",
            remedy="use confidence=0.95 with num_resamples=2000",
        )


def check_metric(metric: str) -> None:
    """Raise unless the metric is known.

    Raises:
        EvaluationError: If it is not.
    """
    if metric not in get_args(Metric):
        raise EvaluationError(
            f"unknown metric {metric!r}", expected="loss or score", got=repr(metric), remedy='use metric="loss"'
        )
