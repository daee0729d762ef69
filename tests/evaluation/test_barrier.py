import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import modeconn as mc

GRID = np.linspace(0, 1, 11)


def test_values_worked_by_hand() -> None:
    # chord at 0.5: (1 + 2) / 2 = 1.5; mean of the ends: 1.5
    assert mc.barrier([0, 0.5, 1], [1.0, 4.0, 2.0]) == mc.Barrier(2.5, 0.5)
    assert mc.barrier([0, 0.25, 1], [1.0, 4.0, 2.0]) == mc.Barrier(2.75, 0.25)
    assert mc.barrier([0, 0.25, 1], [1.0, 4.0, 2.0], baseline="mean") == mc.Barrier(2.5, 0.25)


def test_a_straight_descent_has_a_barrier_only_against_the_mean() -> None:
    descent = 3.0 - 2.0 * GRID
    assert mc.barrier(GRID, descent).height == pytest.approx(0, abs=1e-12)
    assert mc.barrier(GRID, descent, baseline="mean") == mc.Barrier(1.0, 0.0)


@pytest.mark.parametrize("slope", [0.0, 0.1, -0.7, 3.3])
@pytest.mark.parametrize("level", [0.1, 0.7, 2.3, 1e-9, 1e6])
def test_a_loss_that_is_affine_in_t_has_no_barrier_at_all(level: float, slope: float) -> None:
    for t in (GRID, np.linspace(0, 1, 61)):
        loss = level * (1 + slope * t)
        assert mc.barrier(t, loss) == mc.Barrier(0.0, 0.0)
        if slope == 0:
            assert mc.barrier(t, loss, baseline="mean") == mc.Barrier(0.0, 0.0)


@given(st.lists(st.floats(-10, 10), min_size=11, max_size=11), st.floats(-5, 5), st.floats(-5, 5))
def test_an_affine_function_of_t_does_not_change_the_chord_barrier(
    losses: list[float], slope: float, shift: float
) -> None:
    plain = mc.barrier(GRID, losses).height
    tilted = mc.barrier(GRID, np.array(losses) + slope * GRID + shift).height
    assert plain >= 0
    assert tilted == pytest.approx(plain, abs=1e-9)


@given(st.lists(st.floats(-10, 10), min_size=11, max_size=11))
def test_reversal_keeps_both_barriers(losses: list[float]) -> None:
    for baseline in ("chord", "mean"):
        there = mc.barrier(GRID, losses, baseline=baseline).height
        assert mc.barrier(GRID, losses[::-1], baseline=baseline).height == pytest.approx(there, abs=1e-9)


@pytest.mark.parametrize(
    ("t", "message"),
    [
        ([0.0, 0.5, 0.5, 1.0], "(?s)not increasing.*0.5 followed by 0.5"),
        ([0.0, 0.7, 0.5, 1.0], "(?s)not increasing.*0.7 followed by 0.5.*sort the positions"),
        ([0.0, 0.5, 0.9, 0.95], "(?s)do not cover the path.*from 0 to 0.95"),
        ([0.1, 0.5, 0.9, 1.0], "(?s)do not cover.*add t=0 and t=1"),
        ([0.0], "(?s)too few positions.*at least 2"),
    ],
)
def test_bad_positions(t: list[float], message: str) -> None:
    with pytest.raises(mc.EvaluationError, match=message):
        mc.barrier(t, np.zeros(len(t)))


def test_bad_losses_and_baselines() -> None:
    with pytest.raises(mc.EvaluationError, match=r"(?s)loss at every position.*infinite at t = 0.5"):
        mc.barrier([0, 0.5, 1], [1, np.nan, 1])
    with pytest.raises(mc.EvaluationError, match=r"(?s)loss at every position.*shape \[2\]"):
        mc.barrier([0, 0.5, 1], [1, 2])
    with pytest.raises(mc.EvaluationError, match=r"(?s)unknown baseline 'max'.*chord or mean"):
        mc.barrier([0, 1], [1, 2], baseline="max")  # type: ignore[arg-type]
