"""Procrustes distance and canonical correlations against scipy."""

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes, subspace_angles

import modeconn.similarity as sim
from modeconn.errors import EvaluationError


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def unit(rows):
    rows = rows - rows.mean(0)
    return rows / np.linalg.norm(rows)


@pytest.mark.parametrize(("n", "p"), [(30, 6), (6, 30)])
def test_procrustes_is_what_scipys_best_rotation_leaves(n, p):
    x, y = normal(n, p, seed=1) + 3, normal(n, p, seed=2)
    rotation, _ = orthogonal_procrustes(unit(x), unit(y))
    left = np.linalg.norm(unit(x) @ rotation - unit(y)) ** 2
    assert sim.procrustes_distance(x, y) == pytest.approx(left, abs=1e-10)


def test_procrustes_takes_different_widths_as_if_padded():
    x, y = normal(30, 6, seed=1), normal(30, 9, seed=2)
    padded = np.hstack([x, np.zeros((30, 3))])
    assert sim.procrustes_distance(x, y) == pytest.approx(sim.procrustes_distance(padded, y), abs=1e-12)


def test_procrustes_is_0_for_a_turned_copy():
    x = normal(30, 6)
    turned = 7 * x @ np.linalg.qr(normal(6, 6, seed=1))[0] + 2
    assert sim.procrustes_distance(x, turned) == pytest.approx(0, abs=1e-12)


def test_mean_cca_is_the_mean_cosine_of_scipys_angles():
    x, y = normal(50, 4, seed=1), normal(50, 7, seed=2)
    angles = subspace_angles(x - x.mean(0), y - y.mean(0))
    assert sim.mean_cca(x, y) == pytest.approx(np.cos(angles).mean(), abs=1e-10)


def test_mean_cca_sees_through_every_invertible_map():
    x = normal(50, 4)
    assert sim.mean_cca(x, x @ normal(4, 4, seed=1)) == pytest.approx(1, abs=1e-10)


def test_directions_that_do_not_vary_do_not_count():
    x, y = normal(50, 4, seed=1), normal(50, 3, seed=2)
    assert sim.mean_cca(np.hstack([x, x[:, :1]]), y) == pytest.approx(sim.mean_cca(x, y), abs=1e-10)


def test_svcca_is_the_cca_of_the_kept_directions():
    spread = np.array([100, 50, 20, 1, 0.5, 0.1])
    x, y = normal(60, 6, seed=1) * spread, normal(60, 6, seed=2) * spread

    def kept(rows, share):
        left, values, _ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
        return left[:, : np.searchsorted(np.cumsum(values**2) / (values**2).sum(), share) + 1]

    assert kept(x, 0.99).shape[1] == 3
    expected = np.cos(subspace_angles(kept(x, 0.99), kept(y, 0.99))).mean()
    assert sim.svcca(x, y) == pytest.approx(expected, abs=1e-10)
    assert sim.svcca(x, y, variance=1) == pytest.approx(sim.mean_cca(x, y), abs=1e-10)


def test_svcca_serves_where_there_are_more_features_than_examples():
    shared = normal(40, 3)
    x, y = shared @ normal(3, 90, seed=1), shared @ normal(3, 80, seed=2)
    assert sim.svcca(x, y) == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize(
    ("measure", "options", "shape", "message"),
    [
        (sim.mean_cca, {}, (10, 12), r"mean_cca would be near 1 for any features[\s\S]*got: 10 examples, 12 and 12"),
        (sim.mean_cca, {}, (10, 9), "mean_cca would be near 1 for any features"),
        (sim.svcca, {"variance": 1.0}, (10, 12), "svcca would be near 1 for any features"),
        (sim.svcca, {"variance": 0}, (10, 12), "variance above 0 and at most 1"),
        (sim.procrustes_distance, {}, (3, 2), "too few examples"),
    ],
)
def test_what_would_say_nothing_is_refused(measure, options, shape, message):
    with pytest.raises(EvaluationError, match=message):
        measure(normal(*shape, seed=1), normal(*shape, seed=2), **options)
