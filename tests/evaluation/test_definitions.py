"""Every definition of a barrier, worked by hand and against a search over all parts of a path."""

from itertools import combinations

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.optimize import minimize
from simulated_losses import GRID

import modeconn as mc
from modeconn.evaluation.chebyshev import nodes, through
from modeconn.evaluation.definitions import (
    ALL_DEFINITIONS,
    convexity_gap,
    instability,
    measured,
    path_average,
    trapezoid_weights,
)
from modeconn.evaluation.interpolant import Interpolant

TWO_VALLEYS = [5.0, 1.0, 3.0, 2.0, 4.0]
QUARTERS = np.linspace(0, 1, 5)


def test_values_worked_by_hand() -> None:
    assert mc.barrier(QUARTERS, TWO_VALLEYS).height == 0
    assert instability(QUARTERS, TWO_VALLEYS) == mc.Barrier(0.5, 0.0)  # 5 less the mean of 5 and 4
    assert convexity_gap(QUARTERS, TWO_VALLEYS) == (1.5, 0.5, 0.25, 0.75)  # 3 less the mean of 1 and 2
    assert path_average(QUARTERS, TWO_VALLEYS) == (5 / 2 + 1 + 3 + 2 + 4 / 2) / 4 - 4.5


def test_a_gap_between_uneven_positions_worked_by_hand() -> None:
    # the chord from (0.2, 0) to (1, 4) is at 1 over 0.4
    assert convexity_gap([0, 0.2, 0.4, 1], [3, 0, 3, 4]) == pytest.approx((2, 0.4, 0.2, 1))


def searched(t: np.ndarray, loss: np.ndarray) -> tuple[float, float, float, float]:
    """The convexity gap by trying all parts."""
    found = (0.0, 0.0, 0.0, 1.0)
    for first, middle, last in combinations(range(len(t)), 3):
        share = (t[last] - t[middle]) / (t[last] - t[first])
        above = loss[middle] - share * loss[first] - (1 - share) * loss[last]
        found = max(found, (above, t[middle], t[first], t[last]))
    return found


@pytest.mark.parametrize("seed", range(20))
def test_the_gap_is_the_largest_of_all_parts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    t = np.unique([0, *rng.uniform(size=rng.integers(0, 9)), 1])
    loss = rng.normal(size=len(t))
    assert convexity_gap(t, loss) == pytest.approx(searched(t, loss), abs=1e-12)
    assert convexity_gap(t, loss).height >= mc.barrier(t, loss).height - 1e-12


def test_a_convex_profile_has_no_gap() -> None:
    assert convexity_gap(GRID, np.exp(3 * GRID)) == (0, 0, 0, 1)
    assert convexity_gap([0, 1], [1, 2]) == (0, 0, 0, 1)
    assert convexity_gap(GRID, np.full(11, 2.0)) == (0, 0, 0, 1)


@pytest.mark.parametrize("slope", [0.0, 0.1, -0.7, 3.3])
@pytest.mark.parametrize("level", [0.1, 0.7, 2.3, 1e-9, 1e6])
def test_a_loss_that_is_affine_in_t_has_no_gap_at_all(level: float, slope: float) -> None:
    t = np.array(nodes(16))
    loss = level * (1 + slope * t)
    curve = Interpolant([through(loss, 0.0, 1.0)])
    for one in ("chord", "convexity", *(["mean"] if slope == 0 else [])):
        assert measured(one, t, loss, None) == (0, 0, 0, 1)  # type: ignore[arg-type]
        assert measured(one, t, loss, curve) == (0, 0, 0, 1)  # type: ignore[arg-type]


def test_what_is_linear_in_t_changes_only_what_is_against_the_mean() -> None:
    loss = np.random.default_rng(0).normal(size=11)
    tilted = loss + 3 - 5 * GRID
    for one in ("chord", "convexity", "average"):
        plain, other = (measured(one, GRID, values, None) for values in (loss, tilted))
        assert other == pytest.approx(plain, abs=1e-12, nan_ok=True)
    assert measured("mean", GRID, tilted, None).height > measured("mean", GRID, loss, None).height


def test_instability_is_the_barrier_against_the_mean() -> None:
    errors = np.random.default_rng(0).uniform(size=11)
    assert measured("instability", GRID, errors, None) == measured("mean", GRID, errors, None)
    assert instability(GRID, errors) == mc.barrier(GRID, errors, baseline="mean")


def test_the_average_is_the_trapezoid_rule() -> None:
    t = np.array([0, 0.1, 0.5, 0.6, 1])
    loss = np.random.default_rng(0).normal(size=5)
    assert path_average(t, loss) == pytest.approx(trapezoid(loss, t) - (loss[0] + loss[-1]) / 2)
    assert trapezoid_weights(t).sum() == pytest.approx(1)
    assert path_average(t, 2 - 3 * t) == pytest.approx(0)


def resolved(function, degree: int = 64) -> Interpolant:
    return Interpolant([through(function(np.array(nodes(degree))), 0.0, 1.0)])


def waves(t: np.ndarray) -> np.ndarray:
    return np.cos(6 * np.pi * t) + 3 * (t - 0.4) ** 2


def test_the_gap_of_a_curve_is_that_between_its_nodes() -> None:
    t = np.array(nodes(64))
    found = measured("convexity", t, waves(t), resolved(waves))

    def below(parts: np.ndarray) -> float:
        first, middle, last = parts
        share = (last - middle) / (last - first)
        return share * waves(first) + (1 - share) * waves(last) - waves(middle)

    best = minimize(below, [0.17, 0.33, 0.5], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14})
    assert found.height == pytest.approx(-best.fun, abs=1e-10)
    assert (found.start, found.t, found.end) == pytest.approx(best.x, abs=1e-5)
    assert found.height > convexity_gap(t, waves(t)).height


def test_the_gap_of_a_curve_knows_its_joints() -> None:
    pieces = [through(np.array([1.0, 0.5, 0.0]), 0.0, 0.3), through(np.array([0.0, 0.5, 1.0]), 0.3, 0.6),
              through(np.array([1.0, 0.5, 0.0]), 0.6, 1.0)]  # fmt: skip
    t = np.array([0, 0.15, 0.3, 0.45, 0.6, 0.8, 1])
    loss = np.array([1, 0.5, 0, 0.5, 1, 0.5, 0])
    found = measured("convexity", t, loss, Interpolant(pieces))
    assert found == pytest.approx((1.0, 0.6, 0.3, 1.0))


def test_the_average_of_a_curve_is_its_integral() -> None:
    t = np.array(nodes(64))
    exact = 3 * (0.6**3 + 0.4**3) / 3 - (waves(np.array(0.0)) + waves(np.array(1.0))) / 2
    assert measured("average", t, waves(t), resolved(waves)).height == pytest.approx(exact, abs=1e-12)
    assert measured("average", t, waves(t), None).height == pytest.approx(exact, abs=1e-2)


@pytest.mark.parametrize("definition", ALL_DEFINITIONS)
def test_bad_input(definition: str) -> None:
    with pytest.raises(mc.EvaluationError, match=r"(?s)not increasing.*remedy"):
        measured(definition, GRID[::-1], GRID, None)  # type: ignore[arg-type]
    with pytest.raises(mc.EvaluationError, match=r"(?s)loss at every position.*NaN or infinite at t = 0.1.*remedy"):
        measured(definition, GRID, np.where(GRID == 0.1, np.nan, GRID), None)  # type: ignore[arg-type]


def test_an_unknown_definition() -> None:
    with pytest.raises(
        mc.EvaluationError, match=r"(?s)unknown baseline 'top'.*instability, convexity or average.*remedy"
    ):
        measured("top", GRID, GRID, None)  # type: ignore[arg-type]
