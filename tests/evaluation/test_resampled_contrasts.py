"""The chords over all parts of a path: sparse and in blocks, against the same resamples of dense contrasts."""

from itertools import combinations

import numpy as np
import pytest

from modeconn.evaluation import resampled_contrasts
from modeconn.evaluation.ratios import Ratios
from modeconn.evaluation.resampled_contrasts import resampled_sub_intervals
from modeconn.evaluation.resampling import resampled_mixture
from modeconn.evaluation.sub_intervals import SubIntervals

T = np.array([0, 0.1, 0.3, 0.45, 0.8, 1])
FAMILY = SubIntervals.of(T)


def part(count: int, seed: int, weight: float = 1.0) -> Ratios:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, 5, size=count).astype(float)
    return Ratios((rng.normal(size=(count, 6)).cumsum(axis=1) + 3) * tokens[:, None], tokens, weight=weight)


def test_the_contrasts_are_those_of_all_parts() -> None:
    loss = np.random.default_rng(0).normal(size=6)
    expected = [loss[j] - np.interp(T[j], [T[i], T[k]], [loss[i], loss[k]]) for i, j, k in combinations(range(6), 3)]
    np.testing.assert_allclose(FAMILY.weights @ loss, expected)
    np.testing.assert_array_equal(
        np.stack([FAMILY.first, FAMILY.middle, FAMILY.last]).T, list(combinations(range(6), 3))
    )


def test_their_squares_give_variances() -> None:
    draws = np.random.default_rng(0).normal(size=(50, 6))
    covariance = np.cov(draws.T)
    packed = covariance[np.triu_indices(6)]
    np.testing.assert_allclose(FAMILY.squares(6) @ packed, np.cov(FAMILY.weights @ draws.T).diagonal())


@pytest.mark.parametrize("parts", [[part(30, 0)], [part(30, 0), part(20, 1, weight=0.3)]])
def test_they_are_what_dense_contrasts_are(parts: list[Ratios], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampled_contrasts, "_AT_ONCE", 2500)  # several blocks
    dense = FAMILY.weights.toarray().T
    found = resampled_sub_intervals(T, parts, num_resamples=300, seed=4)
    contrasted = [one._replace(numerator=one.numerator @ dense) for one in parts]
    expected = resampled_mixture(contrasted, num_resamples=300, seed=4)
    np.testing.assert_allclose(found.value, expected.value, atol=1e-13)
    np.testing.assert_allclose(found.error, expected.error, rtol=1e-10)
    some = np.arange(len(FAMILY)) % 3 == 0
    np.testing.assert_allclose(found.largest(some), expected.largest(some), rtol=1e-8)
    np.testing.assert_allclose(found.quantile(0.3), expected.quantile(0.3), rtol=1e-8)
    assert found.effective(7) == pytest.approx(expected.effective(7))
    np.testing.assert_array_equal(found.possible_maxima(1.0), expected.possible_maxima(1.0))
    assert 0 < found.possible_maxima(1.0).sum() < len(FAMILY)


def test_fewer_rivals_leave_more(monkeypatch: pytest.MonkeyPatch) -> None:
    found = resampled_sub_intervals(T, [part(30, 0)], num_resamples=20, seed=0)
    all_rivals = found.possible_maxima(1.0)
    monkeypatch.setattr(resampled_contrasts, "_NUM_RIVALS", 1)
    assert (found.possible_maxima(1.0) >= all_rivals).all()


def test_straight_losses_are_exact() -> None:
    slopes = np.random.default_rng(0).normal(size=(20, 1))
    found = resampled_sub_intervals(T, [Ratios(3 + slopes * T, np.ones(20))], num_resamples=20, seed=0)
    assert not found.scatters.any()
    assert not found.largest(np.ones(20, dtype=bool)).any()
    assert np.isnan(found.effective(0))


def test_what_no_example_shows_is_allowed_for() -> None:
    zeros = Ratios(np.zeros((100, 6)), np.ones(100), step=0.01)
    found = resampled_sub_intervals(T, [zeros], num_resamples=4000, seed=0)
    np.testing.assert_allclose(found.error, 0.01)
    np.testing.assert_allclose(found.quantile(0.975), 1.96, rtol=0.1)
