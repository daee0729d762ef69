"""Intervals of every definition of a barrier."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from scipy import stats
from simulated_losses import BUMP, GRID, losses

from modeconn.evaluation.barrier_interval import barrier_interval
from modeconn.evaluation.definitions import ALL_DEFINITIONS, convexity_gap, path_average
from modeconn.evaluation.resampled_contrasts import ResampledContrasts, resampled_sub_intervals

VALLEYS = np.interp(GRID, [0, 0.3, 0.5, 0.7, 1], [2, 0, 1, 0, 2])


def covered(baseline: str, mean: np.ndarray, true: float, *, rough: bool, replications: int = 120) -> float:
    """How often the interval holds the true value; 60 examples with answers of 1 to 5 tokens."""
    held = 0
    for seed in range(replications):
        sums, tokens = losses(rough=rough, seed=seed)
        sums = sums + mean * tokens[:, None]
        found = barrier_interval(GRID, sums, tokens, baseline=baseline, num_resamples=300, seed=seed)  # type: ignore[arg-type]
        held += found.low - 1e-12 <= true <= found.high + 1e-12
    return held / replications


@pytest.mark.parametrize("rough", [False, True])
@pytest.mark.parametrize(("mean", "true"), [(VALLEYS, 1.0), (0 * GRID, 0.0)])
def test_the_gap_is_held(mean: np.ndarray, true: float, rough: bool) -> None:
    assert covered("convexity", mean, true, rough=rough) >= 0.91  # 0.95 less two standard errors


@pytest.mark.parametrize("rough", [False, True])
def test_the_average_is_held_and_its_interval_is_not_wide(rough: bool) -> None:
    true = path_average(GRID, BUMP)
    assert 0.90 <= covered("average", BUMP, true, rough=rough) <= 0.99


def test_the_average_of_many_normal_examples_has_students_interval() -> None:
    values = np.random.default_rng(0).normal(size=(2000, 1)) * BUMP + BUMP
    found = barrier_interval(GRID, values, np.ones(2000), baseline="average", num_resamples=20_000)
    each = np.array([path_average(GRID, one) for one in values])
    reach = stats.t.ppf(0.975, 1999) * each.std(ddof=1) / np.sqrt(2000)
    assert found.height == pytest.approx(each.mean())
    assert (found.low, found.high) == pytest.approx((each.mean() - reach, each.mean() + reach), abs=0.03 * reach)
    assert np.isnan(found.t)


def test_the_average_may_be_negative() -> None:
    found = barrier_interval(GRID, *losses(height=-2.0), baseline="average")
    assert found.low < found.corrected < found.high < 0
    assert found.p_value > 0.99


def test_the_gap_names_its_part() -> None:
    sums, tokens = losses(num_examples=400)
    found = barrier_interval(GRID, sums + 3 * VALLEYS * tokens[:, None], tokens, baseline="convexity")
    mean = (sums / tokens.sum()).sum(axis=0) + 3 * VALLEYS
    assert (found.height, found.t, found.start, found.end) == pytest.approx(convexity_gap(GRID, mean))
    assert (found.start, found.t, found.end) == pytest.approx((0.3, 0.5, 0.7))
    assert found.p_value == pytest.approx(1 / 2001)
    chord = barrier_interval(GRID, sums + 3 * VALLEYS * tokens[:, None], tokens)
    assert (chord.start, chord.end, chord.high) == (0, 1, 0)


def test_of_many_positions_few_begin_parts_and_the_gap_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[np.ndarray] = []

    def watched(t: np.ndarray, *given: Any, **settings: Any) -> ResampledContrasts:
        used.append(t)
        return resampled_sub_intervals(t, *given, **settings)

    monkeypatch.setattr("modeconn.evaluation.barrier_interval.resampled_sub_intervals", watched)
    rng = np.random.default_rng(0)
    for num_positions in (41, 69):
        t = np.linspace(0, 1, num_positions)
        values = rng.normal(size=(50, num_positions)) + np.cos(4 * np.pi * t)
        found = barrier_interval(t, values, np.ones(50), baseline="convexity", num_resamples=100)
        expected = convexity_gap(t, values.mean(axis=0))
        assert (found.height, found.t, found.start, found.end) == pytest.approx(expected)
    assert [len(one) for one in used] == [41, 41, 3]
    _, few, own = used
    assert (few[0], few[-1]) == (0, 1)
    assert np.diff(few).max() < 2.5 / 68
    assert own.tolist() == [expected.start, expected.t, expected.end]


def test_no_gap_is_seen_where_all_examples_are_convex() -> None:
    rng = np.random.default_rng(0)
    found = barrier_interval(
        GRID, rng.uniform(1, 2, size=(60, 1)) * (GRID - 0.4) ** 2, np.ones(60), baseline="convexity"
    )
    assert (found.height, found.t, found.low, found.high, found.corrected, found.p_value) == (0, 0, 0, 0, 0, 1)


def test_between_two_positions_there_is_no_gap() -> None:
    found = barrier_interval([0, 1], losses()[0][:, [0, -1]], losses()[1], baseline="convexity")
    assert (found.height, found.low, found.high, found.p_value, found.num_examples) == (0, 0, 0, 1, 60)


@pytest.mark.parametrize("baseline", ["chord", "convexity", "average"])
def test_what_is_linear_in_t_changes_nothing(baseline: str) -> None:
    sums, tokens = losses(height=0.5, rough=True)
    slopes = np.random.default_rng(1).normal(size=(60, 2))
    plain, tilted = (
        asdict(barrier_interval(GRID, values, tokens, baseline=baseline))  # type: ignore[arg-type]
        for values in (sums, sums + slopes[:, :1] * GRID + slopes[:, 1:])
    )
    assert tilted == pytest.approx(plain, abs=1e-8, nan_ok=True)


def test_instability_is_the_mean_by_another_name() -> None:
    given = losses(height=0.5, rough=True)
    mean, instability = (barrier_interval(GRID, *given, baseline=one) for one in ("mean", "instability"))  # type: ignore[arg-type]
    assert instability == mean


@pytest.mark.parametrize("baseline", ALL_DEFINITIONS)
def test_errors_that_never_change_leave_room_for_those_that_do(baseline: str) -> None:
    found = barrier_interval(GRID, np.ones((100, 11)), np.ones(100), baseline=baseline)  # type: ignore[arg-type]
    assert found.height == 0
    assert 0.015 < found.high < 0.04
    assert found.p_value > 0.2
