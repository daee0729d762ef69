"""Updates in the base's singular directions, and directions that the base does not have."""

import numpy as np
import pytest
import torch
from kind_points import Base, random

from modeconn.errors import EvaluationError
from modeconn.geometry.base_directions import BaseDirections, base_matrices
from modeconn.geometry.decomposition import decompose
from modeconn.geometry.intruders import count_intruders
from modeconn.geometry.matrices import Matrix


@pytest.fixture
def weight():
    """A weight with singular values 8, 7, ..., 1."""
    rng = np.random.default_rng(0)
    left, _ = np.linalg.qr(rng.normal(size=(12, 8)))
    right, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    return left @ np.diag(np.arange(8.0, 0.0, -1)) @ right.T


def shares(weight, change, count):
    directions = BaseDirections.of(torch.from_numpy(weight))
    return directions.shares(decompose(Matrix(torch.from_numpy(change))), count)


def test_shares_are_those_of_dense_projections(weight):
    change = np.random.default_rng(1).normal(size=(12, 8))
    left, _, right = np.linalg.svd(weight, full_matrices=False)
    expected = {
        "top_columns": left[:, :3].T @ change,
        "bottom_columns": left[:, -3:].T @ change,
        "top_rows": change @ right[:3].T,
        "bottom_rows": change @ right[-3:].T,
    }
    found = shares(weight, change, 3)
    for name, part in expected.items():
        assert found[name] == pytest.approx(np.linalg.norm(part) ** 2 / np.linalg.norm(change) ** 2, rel=1e-9)
    assert (found["columns_by_chance"], found["rows_by_chance"]) == (3 / 12, 3 / 8)


def test_a_principal_update_lies_at_the_top_and_a_minor_one_at_the_bottom(weight):
    left, values, right = np.linalg.svd(weight, full_matrices=False)
    principal = (left[:, :2] * values[:2]) @ right[:2]
    found = shares(weight, principal, 2)
    assert found["top_columns"] == pytest.approx(1.0)
    assert found["bottom_rows"] == pytest.approx(0.0, abs=1e-12)
    found = shares(weight, left[:, -2:] @ right[-2:], 2)
    assert found["top_columns"] == pytest.approx(0.0, abs=1e-12)
    assert found["bottom_rows"] == pytest.approx(1.0)


def test_all_directions_of_a_square_side_hold_everything(weight):
    found = shares(weight, np.random.default_rng(1).normal(size=(12, 8)), 100)
    assert found["top_rows"] == found["bottom_rows"] == pytest.approx(1.0)


def test_random_updates_have_their_share_by_chance(weight):
    found = [shares(weight, np.random.default_rng(n).normal(size=(12, 8)), 3)["top_columns"] for n in range(300)]
    assert np.mean(found) == pytest.approx(3 / 12, abs=0.02)


def test_a_large_new_direction_is_an_intruder(weight):
    rng = np.random.default_rng(2)
    left, _, _ = np.linalg.svd(weight)
    new = left[:, -1:]  # the weight writes nothing there
    assert count_intruders(weight, weight + 20 * new @ rng.normal(size=(1, 8)), num_directions=3) == 1
    assert count_intruders(weight, weight + 1e-6 * new @ rng.normal(size=(1, 8)), num_directions=3) == 0


def test_scaled_and_reordered_directions_are_none(weight):
    left, values, right = np.linalg.svd(weight, full_matrices=False)
    assert count_intruders(weight, (left * values[::-1]) @ right, num_directions=8) == 0
    assert count_intruders(weight, -3 * weight, num_directions=8) == 0


def test_a_direction_between_two_is_judged_by_the_threshold():
    """`(u_1 + u_2) / sqrt 2` has the cosine 0.707 with both."""
    turned = np.array([[1.0, -1.0], [1.0, 1.0]]) / np.sqrt(2) @ np.diag([2.0, 1.0])
    weight = np.diag([2.0, 1.0])
    assert count_intruders(weight, turned, threshold=0.7) == 0
    assert count_intruders(weight, turned, threshold=0.72) == 2


@pytest.mark.parametrize("settings", [{"num_directions": 0}, {"threshold": 0.0}, {"threshold": 1.5}])
def test_settings_that_mean_nothing_are_refused(weight, settings):
    with pytest.raises(EvaluationError, match=r"(?s)cannot be counted.*expected: one direction or more.*got: num_dir"):
        count_intruders(weight, weight, **settings)


def test_weights_of_two_shapes_are_refused(weight):
    with pytest.raises(EvaluationError, match=r"(?s)matrices of one shape.*got: shapes \[12, 8\] and \[8, 12\].*W_0"):
        count_intruders(weight, weight.T)


def test_the_bases_matrices_are_cut_and_turned_as_the_changes():
    weights = {"w": random(5, 6), "b": random(6), "mlp.experts.up": random(2, 4, 3), "k": random(4, 2, 3, 3)}
    base = Base(weights, transposed=True)
    assert base_matrices("w", base)["w"].shape == (6, 5)
    assert base_matrices("b", base)["b"].shape == (6, 1)
    assert [one.shape for one in base_matrices("mlp.experts.up", base).values()] == [(4, 3), (4, 3)]
    assert base_matrices("k", base)["k"].shape == (4, 18)
    assert base_matrices("none", base) == {}
