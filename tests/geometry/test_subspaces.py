"""Principal angles against scipy's, where digits are easily lost too."""

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles

from modeconn.errors import EvaluationError
from modeconn.geometry.subspaces import principal_angles, projection_overlap


def vectors(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize(("p", "q"), [(3, 3), (2, 5), (5, 2), (9, 4)])
def test_angles_are_scipys(p, q):
    first, second = vectors(10, p), vectors(10, q, seed=1)
    np.testing.assert_allclose(principal_angles(first, second), subspace_angles(first, second)[::-1], atol=1e-12)


@pytest.mark.parametrize("size", [1e-3, 1e-9, 1e-12])
def test_small_angles_keep_their_digits(size):
    """The arc cosine of a number near 1 would give 0 or 1e-8 for all of them."""
    flat = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    tilted = np.array([[np.cos(size), 0.0], [0.0, 1.0], [np.sin(size), 0.0]])
    assert principal_angles(flat, tilted) == pytest.approx([0.0, size], rel=1e-3, abs=1e-15)


def test_any_vectors_of_a_subspace_will_do():
    first, second = vectors(8, 3), vectors(8, 2, seed=1)
    mixed = first @ np.array([[1.0, 5.0, 0.0, 1.0], [0.0, 1.0, 2.0, 1.0], [1.0, 0.0, 1.0, 1.0]])  # 4 of 3 dimensions
    np.testing.assert_allclose(principal_angles(mixed, second), principal_angles(first, second), atol=1e-9)


def test_overlap_is_the_mean_squared_cosine():
    first, second = torch.from_numpy(vectors(10, 4)), torch.from_numpy(vectors(10, 2, seed=1))
    expected = np.mean(np.cos(subspace_angles(first.numpy(), second.numpy())) ** 2)
    assert projection_overlap(first, second) == pytest.approx(expected, rel=1e-10)
    assert projection_overlap(second, first) == pytest.approx(expected, rel=1e-10)


def test_overlap_of_a_part_with_the_whole_is_one():
    whole = vectors(10, 4)
    assert projection_overlap(whole[:, 1:3], whole) == pytest.approx(1.0)


def test_random_subspaces_overlap_by_chance():
    found = [projection_overlap(vectors(40, 6, seed=n), vectors(40, 3, seed=100 + n)) for n in range(200)]
    assert np.mean(found) == pytest.approx(6 / 40, abs=0.01)


def test_nothing_overlaps_with_nothing():
    assert np.isnan(projection_overlap(np.zeros((4, 2)), vectors(4, 2)))
    assert len(principal_angles(np.zeros((4, 2)), vectors(4, 2))) == 0


@pytest.mark.parametrize("compare", [principal_angles, projection_overlap])
def test_what_is_no_pair_of_subspaces_is_refused(compare):
    with pytest.raises(EvaluationError, match=r"(?s)two subspaces of one space.*got: shapes \[4, 2\] and \[5, 2\]"):
        compare(vectors(4, 2), vectors(5, 2))
    with pytest.raises(EvaluationError, match=r"(?s)expected: matrices.*got: shapes \[4\] and \[4, 2\].*remedy"):
        compare(vectors(4), vectors(4, 2))
    with pytest.raises(EvaluationError, match=r"(?s)cannot be compared.*got: NaN or infinity"):
        compare(vectors(4, 2), np.full((4, 2), np.nan))
