"""Simplices: weighted means, uniform samples, and volumes against determinants of edges."""

import math

import pytest
import torch
from dense_curves import dense_points, factor_points, make_points, update_of
from scipy.stats import kstest

from modeconn.paths.line import LinearPath
from modeconn.paths.simplex import Simplex


def generator():
    return torch.Generator().manual_seed(0)


def right_simplex(dimension, *, edge=1.0):
    """The origin, somewhere, and one step from it along each of some coordinates, in factors space."""
    origin = make_points(1)[0]
    steps = edge * torch.eye(origin.layout.num_parameters)[:dimension]
    return Simplex([origin, *(origin.with_vector(origin.vector + step) for step in steps)], space="factors")


def volume_of_edges(rows):
    """`sqrt(det E E^T) / m!` for the edges E from the first corner."""
    edges = rows[1:] - rows[0]
    return float(torch.linalg.det(edges @ edges.T).sqrt()) / math.factorial(len(edges))


@pytest.mark.parametrize("space", ["weights", "factors"])
def test_a_point_is_the_weighted_mean_of_the_corners(space):
    rows = (dense_points if space == "weights" else factor_points)(3)
    point = Simplex(make_points(3), space=space)([0.2, 0.5, 0.3])
    found = update_of(point) if space == "weights" else point.vector.double()
    expected = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64) @ rows
    assert (found - expected).norm() < 1e-6 * expected.norm()


def test_the_corners_are_the_very_points():
    points = make_points(3)
    assert [Simplex(points)(row) for row in torch.eye(3)] == points


def test_an_edge_is_the_line():
    points = make_points(3)
    expected = update_of(LinearPath(points[0], points[2])(0.25))
    torch.testing.assert_close(update_of(Simplex(points)([0.75, 0.0, 0.25])), expected)


def test_simplex_and_point_have_names():
    simplex = Simplex(make_points(3))
    assert simplex.name == "p0 + p1 + p2"
    assert simplex([0.2, 0.5, 0.3]).name == "p0 + p1 + p2 at 0.2, 0.5, 0.3"
    assert Simplex(make_points(2), name="pair").name == "pair"


def test_samples_are_weights():
    weights = Simplex(make_points(4)).sample(50, generator=generator())
    assert weights.shape == (50, 4)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(50).double(), rtol=0, atol=1e-15)


def test_samples_are_uniform():
    weights = Simplex(make_points(4)).sample(2000, generator=generator())
    for share in weights.T:  # of a uniform point of a simplex with n corners, each weight is Beta(1, n - 1)
        assert kstest(share.numpy(), "beta", args=(1, 3)).pvalue > 0.01


def test_the_generator_decides_the_samples():
    simplex = Simplex(make_points(3))
    first, second = (simplex.sample(5, generator=generator()) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, simplex.sample(5, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("dimension", range(1, 8))
def test_the_unit_right_simplex_has_the_volume_one_over_its_factorial(dimension):
    assert right_simplex(dimension).volume == pytest.approx(1 / math.factorial(dimension), rel=1e-5)


def test_the_volume_grows_with_the_edge_to_the_power_of_the_dimension():
    assert right_simplex(3, edge=8.0).volume == pytest.approx(8**3 / 6, rel=1e-5)


@pytest.mark.parametrize("number", [2, 3, 5])
@pytest.mark.parametrize("space", ["weights", "factors"])
def test_the_volume_is_that_of_the_determinant_of_the_edges(space, number):
    rows = (dense_points if space == "weights" else factor_points)(number)
    assert Simplex(make_points(number), space=space).volume == pytest.approx(volume_of_edges(rows), rel=1e-9)


def test_the_volume_over_two_points_is_their_distance():
    points = make_points(2)
    assert Simplex(points).volume == pytest.approx(LinearPath(*points).distance(1.0), rel=1e-12)


def test_corners_on_a_line_have_no_area():
    points = make_points(2)
    points.append(LinearPath(*points)(0.4))
    assert Simplex(points).volume < 1e-5 * Simplex(points[:2]).volume ** 2


def test_corners_at_one_place_have_no_volume():
    assert Simplex([make_points(1)[0]] * 3).volume == 0.0


def test_other_corners_take_the_place_of_the_first_ones():
    first, other = Simplex(make_points(3), name="triangle"), make_points(4)[1:]
    moved = first.with_points(other)
    assert moved.points == tuple(other)
    assert moved.name == "triangle"
    assert moved.volume == pytest.approx(Simplex(other).volume, rel=1e-12)
    assert first.volume != pytest.approx(moved.volume, rel=1e-3)
