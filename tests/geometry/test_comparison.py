"""What two changes share, against dense computations."""

import numpy as np
import pytest
import torch
from kind_points import random
from scipy.linalg import orth, subspace_angles

from modeconn.geometry import comparison
from modeconn.geometry.comparison import Change, compare
from modeconn.geometry.matrices import Matrix


def change(rows=8, columns=6, rank=2, *, seed=0, directions=32):
    return Change(Matrix(random(rows, rank, seed=seed).double(), random(rank, columns, seed=seed).double()), directions)


@pytest.fixture
def pair():
    return change(), change(rank=3, seed=1)


def dense(one):
    return one.matrix.dense().numpy()


def test_cosine_is_that_of_the_dense_changes(pair):
    first, second = map(dense, pair)
    expected = (first * second).sum() / np.linalg.norm(first) / np.linalg.norm(second)
    assert compare(*pair).cosine == pytest.approx(expected, rel=1e-12)


def test_signs_are_counted_where_both_have_one(pair):
    first, second = map(dense, pair)
    assert compare(*pair).sign_agreement == pytest.approx(np.mean(first * second > 0))
    sparse = Change(Matrix(torch.tensor([[1.0, 0.0], [-2.0, 3.0]])), 2)
    other = Change(Matrix(torch.tensor([[1.0, 5.0], [2.0, 0.0]])), 2)
    assert compare(sparse, other).sign_agreement == 0.5


def test_a_sample_of_the_signs_is_near_all_of_them(monkeypatch):
    first, second = change(600, 500, seed=2), change(600, 500, seed=3)
    first, second = first, Change(Matrix(first.matrix.up + second.matrix.up, first.matrix.down), 32)
    exact = compare(first, second).sign_agreement
    assert 0.6 < exact < 0.9  # not what chance gives
    monkeypatch.setattr(comparison, "_MOST_ENTRIES", 1000)
    sampled = compare(Change(first.matrix, 32), Change(second.matrix, 32))
    assert sampled.agreeing + sampled.opposed == 1 << 16
    assert sampled.sign_agreement == pytest.approx(exact, abs=0.008)
    assert sampled.entries == 300_000


@pytest.mark.parametrize(("side", "turn"), [("columns", np.asarray), ("rows", np.transpose)])
def test_subspaces_are_those_of_the_dense_changes(pair, side, turn):
    first, second = (turn(dense(one)) for one in pair)
    found = getattr(compare(*pair), side)
    expected = subspace_angles(orth(first), orth(second))
    assert found.overlap == pytest.approx(np.mean(np.cos(expected) ** 2), rel=1e-9)
    assert found.least_angle == pytest.approx(np.degrees(expected[-1]), rel=1e-9)
    assert found.chance == pytest.approx(3 / len(first))
    inside = [np.linalg.norm(orth(b).T @ a) ** 2 for a, b in ((first, second), (second, first))]
    assert found.held == pytest.approx(inside, rel=1e-9)


def test_only_leading_directions_span_the_subspaces():
    up, down = torch.eye(4).double(), torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0])).double()
    first, second = Change(Matrix(up, down), 2), Change(Matrix(up[:, 1:], down[1:]), 1)
    found = compare(first, second)
    assert found.columns is not None
    assert (found.columns.directions, found.columns.overlap) == (1, 1.0)  # e2 lies in the span of e1 and e2
    assert found.columns.held == pytest.approx((9.0, 9.0))  # of 16 + 9 + 4 + 1 and of 9 + 4 + 1


def test_an_update_shares_all_with_itself(pair):
    found = compare(pair[0], pair[0])
    assert found.cosine == pytest.approx(1.0)
    assert found.sign_agreement == 1.0
    assert found.columns is not None
    assert found.columns.overlap == pytest.approx(1.0)
    assert found.columns.least_angle == pytest.approx(0.0, abs=1e-6)


def test_vectors_and_zeros_have_no_subspaces(pair):
    vector = Change(Matrix(random(8, 1).double(), is_vector=True), 32)
    assert compare(vector, vector).columns is None
    assert compare(vector, vector).cosine == pytest.approx(1.0)
    nothing = Change(Matrix(torch.zeros(8, 6).double()), 32)
    found = compare(pair[0], nothing)
    assert found.rows is None
    assert np.isnan(found.cosine)
    assert np.isnan(found.sign_agreement)
