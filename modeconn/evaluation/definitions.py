"""What the literature calls a barrier: every definition as a function of a measured profile."""

from typing import Literal, NamedTuple, cast, get_args

import numpy as np
from numpy.typing import ArrayLike

from modeconn.errors import EvaluationError
from modeconn.evaluation.barrier import (
    ROUNDING,
    Barrier,
    Baseline,
    barrier,
    check_positions,
    checked_losses,
    without_rounding,
)
from modeconn.evaluation.interpolant import Interpolant
from modeconn.evaluation.paired import above_baseline

Definition = Literal["chord", "mean", "instability", "convexity", "average"]
ALL_DEFINITIONS: tuple[Definition, ...] = get_args(Definition)
_DENSE = 1001  # positions at which a curve is first searched for its convexity gap
_ZOOMS, _ZOOM = 4, 16  # each zoom looks at a sixteenth of the last distance of positions


class ConvexityGap(NamedTuple):
    """The highest place of a profile above a chord between two of its own points.

    Attributes:
        height: Loss above the chord; 0 of a convex profile.
        t: Where it is reached; the first place of several.
        start: Where the chord begins; 0 where there is no gap.
        end: Where it ends; 1 where there is no gap.
    """

    height: float
    t: float
    start: float
    end: float


def instability(t: ArrayLike, error: ArrayLike) -> Barrier:
    """Instability, `max_t E(t) - (E(0) + E(1)) / 2` (Frankle 2020, arXiv 1912.05671): the barrier against the mean.

    There E is the test error `1 - score` at 30 positions, of two runs that share their first steps, and below 0.02 the
    runs are called stable.

    Args:
        t: Positions, `[T]`, increasing from 0 to 1.
        error: Error at each position, `[T]`; a loss serves as well.

    Raises:
        EvaluationError: If the positions are not increasing from 0 to 1, or a value is not finite.

    Example:
        >>> instability([0, 0.5, 1], [0.125, 0.5, 0.25])
        Barrier(height=0.3125, t=0.5)
    """
    return barrier(t, error, baseline="mean")


def convexity_gap(t: ArrayLike, loss: ArrayLike) -> ConvexityGap:
    """The convexity gap, the largest chord barrier of any part of the path (Juneja 2022, arXiv 2205.12411).

    `max_{s <= t <= u} [L(t) - ((u - t) L(s) + (t - s) L(u)) / (u - s)]`. The lowest of all chords over t is the lower
    convex hull of the profile, so that it is the largest distance of the profile from its hull. It is at least the
    chord barrier: a path may rise between two valleys that both lie below its ends.

    Args:
        t: Positions, `[T]`, increasing from 0 to 1.
        loss: Mean loss at each position, `[T]`.

    Returns:
        The height, where it is reached, and between which positions.

    Raises:
        EvaluationError: If the positions are not increasing from 0 to 1, or a loss is not finite.

    Example:
        >>> convexity_gap([0, 0.25, 0.5, 0.75, 1], [4, 1, 2, 1, 4])
        ConvexityGap(height=1.0, t=0.5, start=0.25, end=0.75)
    """
    positions = check_positions(t)
    losses = checked_losses(positions, loss)
    return _gap(positions, losses)


def path_average(t: ArrayLike, loss: ArrayLike) -> float:
    """How far the mean over the path lies above the mean of the chord, `int_0^1 L(t) dt - (L(0) + L(1)) / 2`.

    By the trapezoid rule. It is negative where the path lies below its chord. Of positions measured along a curve,
    `modeconn.length` from the start as a share of the whole instead of t, it is the average over length.

    Args:
        t: Positions, `[T]`, increasing from 0 to 1.
        loss: Mean loss at each position, `[T]`.

    Raises:
        EvaluationError: If the positions are not increasing from 0 to 1, or a loss is not finite.

    Example:
        >>> path_average([0, 0.5, 1], [1.0, 3.0, 2.0])
        0.75
    """
    positions = check_positions(t)
    above = above_baseline(positions, checked_losses(positions, loss), "chord")
    return float(trapezoid_weights(positions) @ above)


def trapezoid_weights(t: np.ndarray) -> np.ndarray:
    """The weights of the trapezoid rule on [0, 1], `[T]`."""
    steps = np.diff(t)
    return (np.append(steps, 0.0) + np.append(0.0, steps)) / 2


def check_definition(definition: str) -> None:
    """Raise unless the definition is known.

    Raises:
        EvaluationError: If it is not.
    """
    if definition not in ALL_DEFINITIONS:
        raise EvaluationError(
            f"unknown baseline {definition!r}",
            expected=", ".join(ALL_DEFINITIONS[:-1]) + f" or {ALL_DEFINITIONS[-1]}",
            got=repr(definition),
            remedy='use "chord", or the definition of the work that you compare with',
        )


def pointwise(definition: Definition) -> Baseline | None:
    """What is subtracted at every position; None where that depends on the profile."""
    if definition == "instability":
        return "mean"
    return cast(Baseline, definition) if definition in get_args(Baseline) else None


def measured(definition: Definition, t: np.ndarray, loss: np.ndarray, curve: Interpolant | None) -> ConvexityGap:
    """The point estimate of any definition, between the positions too where there is a curve.

    Args:
        definition: Which.
        t: `[T]`, from 0 to 1.
        loss: `[T]`.
        curve: The loss as a function of t, if it is known.

    Returns:
        The height; t is NaN for the average.

    Raises:
        EvaluationError: If the definition is unknown, the positions do not cover the path, or a loss is not finite.
    """
    check_definition(definition)
    baseline = pointwise(definition)
    if baseline is not None:
        found = barrier(t, loss, baseline=baseline)  # also checks what is given
        found = curve.barrier(baseline) if curve else found
        return ConvexityGap(found.height, found.t, 0.0, 1.0)
    if definition == "convexity":
        found = convexity_gap(t, loss)
        return _gap_of_curve(curve) if curve else found
    average = path_average(t, loss)
    if curve:
        average = curve.integral() - float(np.mean(curve([0.0, 1.0])))
        average = float(without_rounding(np.array(average), loss))
    return ConvexityGap(average, np.nan, 0.0, 1.0)


def _gap(t: np.ndarray, loss: np.ndarray) -> ConvexityGap:
    """The gap of a profile above its lower convex hull."""
    hull = _lower_hull(t, loss)
    above = loss - np.interp(t, t[hull], loss[hull])
    above[hull] = 0.0
    top = int(above.argmax())
    if above[top] <= ROUNDING * np.abs(loss).max():
        return ConvexityGap(0.0, 0.0, 0.0, 1.0)
    right = int(np.searchsorted(hull, top))
    return ConvexityGap(float(above[top]), float(t[top]), float(t[hull[right - 1]]), float(t[hull[right]]))


def _lower_hull(t: np.ndarray, loss: np.ndarray) -> list[int]:
    """Which points are corners of the lower convex hull, increasing (Andrew 1979)."""
    hull: list[int] = []
    for new in range(len(t)):
        while len(hull) > 1:
            first, middle = hull[-2:]
            turn = (t[middle] - t[first]) * (loss[new] - loss[first]) - (loss[middle] - loss[first]) * (
                t[new] - t[first]
            )
            if turn > 0:
                break
            hull.pop()
        hull.append(new)
    return hull


def _gap_of_curve(curve: Interpolant) -> ConvexityGap:
    """The gap of a function: of dense positions, and then of denser ones around the three that matter.

    At the gap all three are stationary or at a kink or an end, so that its error falls with the square of their
    distance.
    """
    dense = (1 - np.cos(np.pi * np.linspace(0, 1, _DENSE))) / 2  # densest at the ends, as the nodes are
    t = np.unique([*dense, *curve.joints])
    reach = np.pi / _DENSE
    found = _gap(t, np.asarray(curve(t)))
    for _ in range(_ZOOMS):
        near = [place + reach * np.linspace(-1, 1, 2 * _ZOOM + 1) for place in found[1:]]
        t = np.unique(np.clip(np.concatenate([found[1:], [0.0, 1.0], *near]), 0.0, 1.0))
        found = max(found, _gap(t, np.asarray(curve(t))))
        reach /= _ZOOM
    return found
