"""The studentised bootstrap of ratios, against references that resample and leave out examples one at a time."""

import numpy as np
import pytest
from simulated_losses import GRID, losses

from modeconn.evaluation.bands import resampled_above
from modeconn.evaluation.paired import above_baseline
from modeconn.evaluation.resampling import resampled_ratios


def test_every_draw_is_a_resample_with_its_own_error() -> None:
    sums, tokens = losses(num_examples=12)
    found = resampled_ratios(sums, tokens, num_resamples=50, seed=3)
    chosen = np.random.default_rng(3).integers(12, size=(50, 12))  # the same examples, drawn one by one
    ratio = sums.sum(axis=0) / tokens.sum()
    for draw, examples in zip(found.draws, chosen, strict=True):
        own, count = sums[examples], tokens[examples]
        again = own.sum(axis=0) / count.sum()
        residual = own - again * count[:, None]
        error = np.sqrt(12 / 11 * (residual**2).sum(axis=0)) / count.sum()
        np.testing.assert_allclose(draw, (again - ratio) / error, rtol=1e-8)


@pytest.mark.parametrize("baseline", ["chord", "mean"])
def test_the_error_is_that_of_the_jackknife(baseline: str) -> None:
    sums, tokens = losses(num_examples=200, rough=True)
    found = resampled_above(GRID, sums, tokens, baseline=baseline, num_resamples=10, seed=0)  # type: ignore[arg-type]
    left_out = []
    for example in range(200):
        mean = np.delete(sums, example, axis=0).sum(axis=0) / np.delete(tokens, example).sum()
        floor = (1 - GRID) * mean[0] + GRID * mean[-1] if baseline == "chord" else (mean[0] + mean[-1]) / 2
        left_out.append(mean - floor)
    jackknife = np.sqrt(199 / 200 * ((left_out - np.mean(left_out, axis=0)) ** 2).sum(axis=0))
    np.testing.assert_allclose(found.error, jackknife, rtol=0.02, atol=1e-12)


def test_positions_are_resampled_together() -> None:
    sums, tokens = losses(num_examples=40)
    sums[:, 5] = sums[:, 4]
    found = resampled_ratios(sums, tokens, num_resamples=30, seed=0)
    np.testing.assert_allclose(found.draws[:, 5], found.draws[:, 4])


def test_the_order_of_the_examples_does_not_matter() -> None:
    sums, tokens = losses()
    there = resampled_ratios(sums, tokens, num_resamples=10, seed=0)
    back = resampled_ratios(sums[::-1], tokens[::-1], num_resamples=10, seed=0)
    np.testing.assert_allclose(there.value, back.value, rtol=1e-12)
    np.testing.assert_allclose(there.covariance, back.covariance, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(there.num_effective, back.num_effective, rtol=1e-9)


def test_identical_examples_have_no_scatter() -> None:
    sums = np.tile(np.linspace(1, 3, 5) ** 3 / 7, (30, 1))
    found = resampled_ratios(sums, np.full(30, 3.0), num_resamples=10, seed=0)
    assert not found.scatters.any()
    assert not found.draws.any()


def test_one_example_that_carries_everything_counts_as_one() -> None:
    numerator = np.zeros((1000, 1))
    numerator[0] = 5.0
    assert resampled_ratios(numerator, np.ones(1000), num_resamples=10, seed=0).num_effective == pytest.approx(1, 0.02)
    even = np.random.default_rng(0).normal(size=(9000, 1))
    assert resampled_ratios(even, np.ones(9000), num_resamples=10, seed=0).num_effective == pytest.approx(3000, 0.1)


def test_a_resample_of_equal_examples_does_not_divide_by_zero() -> None:
    numerator = np.zeros((20, 1))
    numerator[0] = 1.0  # more than a third of the resamples lack it
    draws = resampled_ratios(numerator, np.ones(20), num_resamples=200, seed=0).draws
    assert np.isfinite(draws).all()
    assert draws.min() == pytest.approx(-10, rel=0.03)


def test_a_step_is_scatter_that_no_example_shows() -> None:
    found = resampled_ratios(np.zeros((100, 1)), np.ones(100), num_resamples=4000, seed=0, step=0.01)
    assert found.error == pytest.approx(0.01)
    assert found.draws.std() == pytest.approx(1, rel=0.05)


def test_above_a_baseline_by_hand() -> None:
    sums = np.array([[1.0, 4.0, 2.0], [6.0, 0.0, 2.0]])
    t = np.array([0, 0.25, 1])
    np.testing.assert_allclose(above_baseline(t, sums, "chord"), [[0, 2.75, 0], [0, -5, 0]])
    np.testing.assert_allclose(above_baseline(t, sums, "mean"), [[-0.5, 2.5, 0.5], [2, -4, -2]])


def test_what_rounding_leaves_of_a_straight_line_is_nothing() -> None:
    straight = 0.1 + 0.7 * GRID[None] * np.array([[1.0], [3.0]]) / 3
    assert not above_baseline(GRID, straight, "chord").any()
