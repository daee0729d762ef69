import numpy as np
import pytest
from scipy import stats

from modeconn.evaluation.mean_interval import mean_intervals
from modeconn.evaluation.ratios import Ratios
from modeconn.evaluation.resampling import resampled_mixture, resampled_ratios


def test_of_normal_values_it_is_students_interval_and_test() -> None:
    values = np.random.default_rng(0).normal(0.1, 1, size=(400, 1))
    found = mean_intervals(
        resampled_ratios(values, np.ones(400), num_resamples=40_000, seed=0), confidence=0.9, num_examples=400
    )
    error = values.std(ddof=1) / 20
    low, high = stats.t.interval(0.9, 399, values.mean(), error)
    assert (found.low[0], found.high[0]) == pytest.approx((low, high), abs=0.05 * error)
    assert found.corrected[0] == pytest.approx(values.mean(), abs=0.05 * error)
    assert found.p_value[0] == pytest.approx(stats.ttest_1samp(values[:, 0], 0, alternative="greater").pvalue, abs=0.01)


@pytest.mark.parametrize("sign", [1, -1])
def test_no_end_is_nearer_than_students_nor_than_the_resamples(sign: int) -> None:
    """Of skewed values the resamples lengthen the side of the tail, and would shorten the other."""
    values = sign * np.random.default_rng(2).lognormal(0, 1, size=(40, 1))
    sample = resampled_ratios(values, np.ones(40), num_resamples=4000, seed=0)
    found = mean_intervals(sample, confidence=0.95, num_examples=40)
    student = stats.t.interval(0.95, 39, values.mean(), values.std(ddof=1) / 40**0.5)
    resampled = values.mean() - np.quantile(sample.draws, [0.975, 0.025]) * sample.error
    assert found.low[0] == pytest.approx(min(student[0], resampled[0]))
    assert found.high[0] == pytest.approx(max(student[1], resampled[1]))
    long, short = (1, 0) if sign > 0 else (0, 1)
    assert abs(resampled[long] - values.mean()) > abs(student[long] - values.mean())
    assert abs(resampled[short] - values.mean()) < abs(student[short] - values.mean())


def test_means_of_independent_tasks_have_the_error_of_both() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.normal(0, 3, size=(50, 1)), rng.normal(0, 1, size=(500, 1))
    parts = [Ratios(few, np.ones(50), weight=0.25), Ratios(many, np.ones(500), weight=0.75)]
    found = resampled_mixture(parts, num_resamples=20_000, seed=0)
    assert found.value[0] == pytest.approx(0.25 * few.mean() + 0.75 * many.mean())
    assert found.error[0] == pytest.approx(
        np.hypot(0.25 * few.std(ddof=1) / 50**0.5, 0.75 * many.std(ddof=1) / 500**0.5)
    )
    assert np.quantile(found.draws, 0.975) == pytest.approx(stats.t.ppf(0.975, 70), rel=0.05)  # Welch: about 70 degrees


def test_exact_means_are_known() -> None:
    values = np.tile([0.0, 2.0, -1.0], (20, 1))
    found = mean_intervals(
        resampled_ratios(values, np.ones(20), num_resamples=99, seed=0), confidence=0.9, num_examples=20
    )
    np.testing.assert_array_equal(found.low, [0, 2, -1])
    np.testing.assert_array_equal(found.high, [0, 2, -1])
    assert found.p_value.tolist() == [1, 0.01, 1]
