import numpy as np
import pytest

from modeconn.evaluation.intervals import proportion_interval, ratio_interval


def test_the_ratio_interval_covers_the_true_ratio_in_about_95_percent() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        tokens = rng.integers(1, 9, size=60)
        losses = tokens * rng.gamma(2.0, 0.5, size=60)  # true mean per token 1.0
        low, high = ratio_interval(losses, tokens)
        covered += low <= 1.0 <= high
    assert 0.92 <= covered / 2000 <= 0.97


def test_with_equal_weights_it_is_the_interval_of_students_t() -> None:
    values = np.random.default_rng(1).normal(size=20)
    low, high = ratio_interval(values, np.ones(20))
    reach = 2.093024 * values.std(ddof=1) / np.sqrt(20)  # t quantile .975 of 19 degrees, from a table
    assert (low, high) == pytest.approx((values.mean() - reach, values.mean() + reach), rel=1e-6)


def test_wilson_by_its_formula() -> None:
    scores = np.array([1.0] * 45 + [0.0] * 5)
    p, n, z = 0.9, 50, 1.959964
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert proportion_interval(scores) == pytest.approx((centre - reach, centre + reach), rel=1e-5)


def test_scores_between_zero_and_one_are_means_not_proportions() -> None:
    scores = np.array([0.2, 0.4] * 10)
    assert proportion_interval(scores) == ratio_interval(scores, np.ones(20))


def test_fewer_than_eight_examples_have_no_interval() -> None:
    assert np.isnan(ratio_interval(np.ones(7), np.ones(7))).all()
    assert np.isnan(proportion_interval(np.ones(7))).all()
