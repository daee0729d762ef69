"""The height of a barrier: how far the loss along a path rises above what the ends promise."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from modeconn.errors import EvaluationError

Baseline = Literal["chord", "mean"]
ROUNDING = 1e-12  # of the largest loss: what is left of a loss after its baseline is taken off may be rounding only


@dataclass(frozen=True)
class Barrier:
    """The highest point of a profile above its baseline.

    Attributes:
        height: Loss above the baseline, in the unit of the loss.
        t: Where on the path it is reached; the first place of several.
    """

    height: float
    t: float


def barrier(t: ArrayLike, loss: ArrayLike, *, baseline: Baseline = "chord") -> Barrier:
    """The barrier along a path, `max_t [L(t) - B(t)]`.

    `baseline="chord"`: `B(t) = (1 - t) L(0) + t L(1)` (Entezari 2021, arXiv 2110.06296; Juneja 2022, 2205.12411).
    It is never negative, and adding an affine function of t to the loss does not change it. What is within 1e-12 of the
    largest loss is taken for rounding: a loss that is affine in t has a barrier of exactly 0, at t = 0.
    `baseline="mean"`: `B = (L(0) + L(1)) / 2` (Frankle 2020, arXiv 1912.05671; Ainsworth 2022, 2209.04836). It
    counts half of the difference of the ends as a barrier, also where the loss falls all the way.

    Args:
        t: Positions, `[T]`, increasing from 0 to 1.
        loss: Mean loss at each position, `[T]`.
        baseline: "chord" or "mean".

    Returns:
        The height and where it is reached.

    Raises:
        EvaluationError: If the positions are not increasing from 0 to 1, or a loss is not finite.

    Example:
        >>> barrier([0, 0.5, 1], [1.0, 2.5, 2.0])
        Barrier(height=1.0, t=0.5)
        >>> barrier([0, 0.5, 1], [2.0, 1.5, 1.0], baseline="mean")
        Barrier(height=0.5, t=0.0)
    """
    check_baseline(baseline)
    positions = check_positions(t)
    losses = checked_losses(positions, loss)
    if baseline == "chord":
        floor = (1 - positions) * losses[0] + positions * losses[-1]  # [T]
    else:
        floor = np.full_like(losses, (losses[0] + losses[-1]) / 2)
    above = without_rounding(losses - floor, losses)
    highest = int(above.argmax())
    return Barrier(float(above[highest]), float(positions[highest]))


def without_rounding(above: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """What is left of losses above a baseline, with 0 where it may be rounding only.

    Args:
        above: Losses less their baseline, `[..., T]`.
        loss: The losses, `[..., T]`.
    """
    return np.where(np.abs(above) <= ROUNDING * np.abs(loss).max(initial=0.0), 0.0, above)


def check_baseline(baseline: str) -> None:
    """Raise unless the baseline is known.

    Raises:
        EvaluationError: If it is not.
    """
    if baseline not in get_args(Baseline):
        raise EvaluationError(
            f"unknown baseline {baseline!r}",
            expected=" or ".join(get_args(Baseline)),
            got=repr(baseline),
            remedy='use "chord", or "mean" to compare with work that subtracts the mean of the ends',
        )


def check_positions(t: ArrayLike) -> np.ndarray:
    """Positions as float64 `[T]`, strictly increasing from 0 to 1.

    Raises:
        EvaluationError: If they are not.
    """
    positions = np.asarray(t, dtype=float)
    if positions.ndim != 1 or len(positions) < 2:
        raise EvaluationError(
            "too few positions on the path",
            expected="at least 2: both ends",
            got=f"an array of shape {list(positions.shape)}",
            remedy="give num_points=2 or more, or a list of positions",
        )
    steps = np.diff(positions)
    if not (steps > 0).all():
        first = int(np.argmin(steps > 0))
        raise EvaluationError(
            "the positions on the path are not increasing",
            expected="every t once, in increasing order",
            got=f"{positions[first]:g} followed by {positions[first + 1]:g}",
            remedy="sort the positions and leave out repeats",
        )
    if positions[0] != 0.0 or positions[-1] != 1.0:
        raise EvaluationError(
            "the positions do not cover the path",
            expected="0 first and 1 last, because a barrier is measured against the ends",
            got=f"from {positions[0]:g} to {positions[-1]:g}",
            remedy="add t=0 and t=1",
        )
    return positions


def checked_losses(positions: np.ndarray, loss: ArrayLike) -> np.ndarray:
    """Losses as float64 `[T]`.

    Raises:
        EvaluationError: Unless there is one finite loss a position.
    """
    losses = np.asarray(loss, dtype=float)
    if losses.shape != positions.shape or not np.isfinite(losses).all():
        bad = positions[~np.isfinite(losses)] if losses.shape == positions.shape else []
        raise EvaluationError(
            "a barrier needs a loss at every position",
            expected=f"{len(positions)} finite numbers",
            got=f"shape {list(losses.shape)}" if len(bad) == 0 else f"NaN or infinite at t = {bad[0]:g}",
            remedy="leave out no position; find the examples whose loss is not finite",
        )
    return losses
