from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy import stats
from simulated_losses import BUMP, GRID, losses

import modeconn as mc
from modeconn.evaluation.barrier_interval import BarrierInterval, barrier_interval
from modeconn.evaluation.resampling import Resampled, resampled_ratios


def interval(seed: int = 0, **settings: object) -> BarrierInterval:
    return barrier_interval(GRID, *losses(seed=seed, **settings), num_resamples=300, seed=seed)  # type: ignore[arg-type]


def test_with_one_position_between_the_ends_it_is_the_normal_interval() -> None:
    values = np.random.default_rng(0).normal(size=(2000, 1)) * np.array([0, 1, 0]) + np.array([0, 2, 0])
    found = barrier_interval([0, 0.5, 1], values, np.ones(2000), num_resamples=20_000)
    middle = values[:, 1]
    error = middle.std(ddof=1) / np.sqrt(2000)
    assert (found.height, found.t) == (pytest.approx(middle.mean()), 0.5)
    assert found.low == pytest.approx(middle.mean() + stats.norm.ppf(0.035) * error, abs=0.05 * error)
    assert found.high == pytest.approx(middle.mean() + stats.norm.ppf(0.985) * error, abs=0.05 * error)
    assert found.corrected == pytest.approx(middle.mean(), abs=0.05 * error)


def test_it_holds_no_barrier_where_the_percentile_bootstrap_does_not() -> None:
    rng = np.random.default_rng(0)
    held = percentile = rejected = 0
    for seed in range(200):
        sums, tokens = losses(rough=True, seed=seed)
        found = barrier_interval(GRID, sums, tokens, num_resamples=300, seed=seed)
        held += found.low <= 0 <= found.high
        rejected += found.p_value < 0.05
        drawn = rng.integers(60, size=(100, 60))
        tops = [mc.barrier(GRID, sums[one].sum(axis=0) / tokens[one].sum()).height for one in drawn]
        percentile += np.quantile(tops, 0.025) <= 0
    assert held >= 0.92 * 200
    assert rejected <= 0.09 * 200
    assert percentile < 0.5 * 200


@pytest.mark.parametrize("height", [0.3, 2.0])
def test_it_holds_a_barrier_and_is_not_endless(height: float) -> None:
    found = [interval(seed, height=height) for seed in range(200)]
    held = np.mean([one.low <= height <= one.high for one in found])
    assert 0.92 <= held <= 0.995
    error = np.sqrt((1 / 60) * 1.4)  # of a mean of 60 ratios at the top, about
    assert np.median([one.half_width for one in found]) < 3 * error


def test_half_of_the_corrected_estimates_are_too_high_where_all_heights_are() -> None:
    found = [interval(seed, rough=True) for seed in range(200)]
    assert np.mean([one.height > 0 for one in found]) > 0.9
    assert 0.4 <= np.mean([one.corrected > 0 for one in found]) <= 0.6


def test_a_barrier_that_is_there_is_seen() -> None:
    assert interval(height=2.0).p_value == pytest.approx(1 / 301)
    assert interval(height=2.0).low > 1


def test_nothing_above_the_chord_is_no_barrier() -> None:
    found = interval(height=-3.0)
    assert (found.height, found.low, found.high, found.corrected) == (0, 0, 0, 0)
    assert found.p_value > 0.99


def test_what_is_linear_in_t_changes_nothing() -> None:
    sums, tokens = losses(height=0.5)
    slopes = np.random.default_rng(1).normal(size=(60, 2))
    tilted = sums + slopes[:, :1] * GRID + slopes[:, 1:]
    for one, other in zip(
        asdict(barrier_interval(GRID, sums, tokens)).values(),
        asdict(barrier_interval(GRID, tilted, tokens)).values(),
        strict=True,
    ):
        assert other == pytest.approx(one, abs=1e-9)


def test_the_unit_of_the_loss_scales_all_but_the_test() -> None:
    sums, tokens = losses(height=0.5)
    nats, thousandths = (barrier_interval(GRID, factor * sums, tokens) for factor in (1, 1000))
    for name in ("height", "low", "high", "corrected", "half_width"):
        assert getattr(thousandths, name) == pytest.approx(1000 * getattr(nats, name))
    assert thousandths.p_value == nats.p_value


def test_ends_that_differ_are_a_barrier_against_the_mean() -> None:
    sums, tokens = losses(num_examples=400, rough=True)  # falls by 1 nat all the way
    found = barrier_interval(GRID, sums, tokens, baseline="mean")
    mean = sums.sum(axis=0) / tokens.sum()
    assert found.height == pytest.approx((mean[0] - mean[-1]) / 2)
    assert (found.t, found.p_value) == (0.0, pytest.approx(1 / 2001))
    assert found.low < 0.5 < found.high


def test_identical_examples_leave_no_doubt() -> None:
    found = barrier_interval(GRID, np.tile(1 + BUMP, (20, 1)), np.ones(20))
    assert (found.low, found.high, found.corrected) == pytest.approx((1, 1, 1))
    assert found.p_value == pytest.approx(1 / 2001)
    assert not found.doubtful
    straight = barrier_interval(GRID, np.tile(2 - GRID, (20, 1)), np.ones(20))
    assert (straight.low, straight.high, straight.p_value) == (0, 0, 1)


def test_many_positions_far_below_do_not_blunt_the_test() -> None:
    rng = np.random.default_rng(0)
    above = 0.25 + rng.normal(size=(200, 1))
    below = -2 + rng.normal(size=(200, 200))
    zeros = np.zeros((200, 1))
    few = np.hstack([zeros, above, zeros])
    many = np.hstack([zeros, above, below, zeros])
    p_few, p_many = (
        barrier_interval(np.linspace(0, 1, values.shape[1]), values, np.ones(200)).p_value for values in (few, many)
    )
    assert 0 < p_few < 0.05
    assert p_many == pytest.approx(p_few, abs=0.01)


def test_a_paired_difference_rules_positions_out() -> None:
    rng = np.random.default_rng(0)
    common = 5 * rng.normal(size=(100, 1))
    values = common + 0.1 * rng.normal(size=(100, 3)) + np.array([0.0, 1.0, 0.98])
    sample = resampled_ratios(values, np.ones(100), num_resamples=50, seed=0)
    assert sample.possible_maxima(3.0).tolist() == [False, True, True]
    apart = replace(sample, covariance=np.diag(np.diag(sample.covariance)))  # as if they were not paired
    assert isinstance(apart, Resampled)
    assert apart.possible_maxima(3.0).all()


def test_the_seed_decides_and_is_kept() -> None:
    first, again, other = (barrier_interval(GRID, *losses(), seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert (first.low, first.high) != (other.low, other.high)
    assert (other.seed, other.num_resamples, other.confidence, other.num_examples) == (2, 2000, 0.95, 60)


def test_more_confidence_is_wider() -> None:
    usual, sure = (barrier_interval(GRID, *losses(height=1.0), confidence=c) for c in (0.9, 0.99))
    assert sure.low < usual.low < usual.high < sure.high
    assert sure.corrected == usual.corrected


def test_a_barrier_that_one_example_makes_is_doubtful() -> None:
    sums, tokens = losses(num_examples=100)
    assert not barrier_interval(GRID, sums, tokens).doubtful
    sums[0] += 1000 * BUMP
    found = barrier_interval(GRID, sums, tokens)
    assert found.doubtful
    assert found.num_effective == pytest.approx(1, abs=0.1)
    assert found.low == 0


def test_scores_that_never_change_leave_room_for_those_that_do() -> None:
    found = barrier_interval(GRID, np.zeros((100, 11)), np.ones(100))
    assert found.height == 0
    assert 0.02 < found.high < 0.03
    assert found.p_value > 0.2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baseline": "max"}, r"(?s)unknown baseline 'max'.*chord, mean, instability, convexity or average.*remedy"),
        ({"confidence": 0.3}, r"(?s)no interval of this confidence.*confidence=0.3.*remedy"),
        ({"t": GRID[::-1]}, r"(?s)not increasing.*1 followed by 0.9.*remedy"),
        ({"loss_sums": np.ones((1, 11)), "num_tokens": [1]}, r"(?s)too few examples.*at least 8.*got: 1\n.*remedy"),
        ({"loss_sums": np.ones(11)}, r"(?s)do not fit together.*shapes \[11\] and \[60\].*remedy"),
        ({"loss_sums": np.full((60, 11), np.nan)}, r"(?s)NaN or infinite.*60 of 60.*first at 0, 1, 2.*remedy"),
    ],
)
def test_bad_input(change: dict, message: str) -> None:
    sums, tokens = losses()
    given = {"t": GRID, "loss_sums": sums, "num_tokens": tokens} | change
    with pytest.raises(mc.EvaluationError, match=message):
        barrier_interval(**given)
