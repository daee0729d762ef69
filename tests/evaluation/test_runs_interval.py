import numpy as np
import pytest
from scipy import stats
from simulated_losses import BUMP, GRID

import modeconn as mc
from modeconn.evaluation.barrier_interval import barrier_interval
from modeconn.evaluation.runs_interval import barrier_interval_over_runs


def runs(num_runs: int, *, num_examples: int = 100, spread: float = 0.2, seed: int = 0) -> np.ndarray:
    """Losses `[S, N, T]` of runs whose true mean barrier is 1, on common examples."""
    rng = np.random.default_rng(seed)
    heights = 1 + spread * rng.normal(size=(num_runs, 1, 1))
    common = rng.normal(size=(num_examples, 1)) * np.sin(np.pi * GRID)
    return 2 + heights * BUMP + common + 0.3 * rng.normal(size=(num_runs, num_examples, 1)) * BUMP


def test_without_noise_of_examples_it_is_students_interval_over_runs() -> None:
    heights = np.array([0.8, 1.1, 1.3, 0.9])
    losses = np.tile((heights[:, None] * BUMP)[:, None], (1, 10, 1))
    found = barrier_interval_over_runs(GRID, losses, np.ones(10), num_resamples=40_000)
    error = heights.std(ddof=1) / 2
    assert found.height == pytest.approx(heights.mean())
    assert found.low == pytest.approx(heights.mean() + stats.t.ppf(0.035, 3) * error, rel=0.05)
    assert found.high == pytest.approx(heights.mean() + stats.t.ppf(0.985, 3) * error, rel=0.05)


def test_runs_that_agree_leave_the_doubt_about_examples() -> None:
    rng = np.random.default_rng(0)
    losses = 2 + BUMP + rng.normal(size=(2000, 1)) * np.sin(np.pi * GRID)
    several = barrier_interval_over_runs(GRID, np.stack([losses] * 3), np.ones(2000), num_resamples=10_000)
    one = barrier_interval(GRID, losses, np.ones(2000), num_resamples=10_000)
    assert several.height == pytest.approx(one.height)
    assert (several.low, several.high) == pytest.approx((one.low, one.high), abs=0.01)


def test_it_holds_the_barrier_of_runs_that_were_not_made() -> None:
    found = [
        barrier_interval_over_runs(GRID, runs(4, seed=seed), np.ones(100), num_resamples=300, seed=seed)
        for seed in range(200)
    ]
    assert 0.91 <= np.mean([one.low <= 1 <= one.high for one in found]) <= 0.99
    alone = [barrier_interval(GRID, runs(4, seed=seed)[0], np.ones(100), num_resamples=300) for seed in range(100)]
    assert np.mean([one.low <= 1 <= one.high for one in alone]) < 0.85  # one run says nothing about others


def test_the_order_of_runs_and_examples_does_not_matter() -> None:
    losses = runs(3)
    there = barrier_interval_over_runs(GRID, losses, np.ones(100), num_resamples=20_000)
    back = barrier_interval_over_runs(GRID, losses[::-1, ::-1], np.ones(100), num_resamples=20_000)
    assert (back.low, back.high) == pytest.approx((there.low, there.high), abs=0.05)
    assert back.height == pytest.approx(there.height)


@pytest.mark.parametrize(
    ("losses", "tokens", "message"),
    [
        (runs(1), np.ones(100), r"(?s)too few runs.*at least 2 runs and 8.*got: 1 runs and 100.*remedy: use barrier_"),
        (runs(3)[:, :7], np.ones(7), r"(?s)too few runs or examples.*got: 3 runs and 7 examples"),
        (runs(3)[0], np.ones(100), r"(?s)do not fit together.*\[S, N, 11\].*shapes \[100, 11\].*remedy: stack"),
        (runs(3) * np.nan, np.ones(100), r"(?s)NaN or infinite.*100 of 100 examples, the first at 0, 1"),
    ],
)
def test_bad_input(losses: np.ndarray, tokens: np.ndarray, message: str) -> None:
    with pytest.raises(mc.EvaluationError, match=message):
        barrier_interval_over_runs(GRID, losses, tokens)
