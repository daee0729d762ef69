"""Planes through three points: orthonormal directions, and projections against dense least squares."""

import pytest
import torch
from dense_curves import dense_points, factor_points, make_points, update_of

from modeconn.paths.bezier import BezierCurve
from modeconn.paths.chain import PolygonalChain
from modeconn.paths.plane import Plane

SPACES = ("weights", "factors")


@pytest.fixture(scope="module", params=SPACES)
def space(request):
    return request.param


@pytest.fixture(scope="module")
def plane(space):
    return Plane.through(make_points(3), space=space)


@pytest.fixture(scope="module")
def rows(space):
    """Five dense points, of which the first three span the plane."""
    return (dense_points if space == "weights" else factor_points)(5)


def vector(plane, point):
    return update_of(point) if plane.path.space == "weights" else point.vector.double()


def least_squares(rows, point):
    """The nearest point of the plane through three dense points, by an independent solver."""
    edges = (rows[1:3] - rows[0]).T  # [P, 2]
    solution = torch.linalg.lstsq(edges, (point - rows[0]).unsqueeze(1)).solution
    return rows[0] + (edges @ solution)[:, 0]


def test_the_directions_are_orthonormal(plane, rows):
    directions = plane.axes @ rows[:3]
    torch.testing.assert_close(directions @ directions.T, torch.eye(2).double(), rtol=0, atol=1e-12)


def test_the_directions_are_those_of_a_qr_decomposition(plane, rows):
    columns, triangle = torch.linalg.qr((rows[1:3] - rows[0]).T)
    torch.testing.assert_close(plane.axes @ rows[:3], (columns * triangle.diagonal().sign()).T, rtol=0, atol=1e-12)


def test_the_first_point_is_the_origin_and_the_second_lies_on_the_axis(plane, rows):
    found = plane.locate(plane.corners)
    assert found.x[:2].tolist() == pytest.approx([0, float((rows[1] - rows[0]).norm())], abs=1e-12)
    assert found.y[:2].tolist() == pytest.approx([0, 0], abs=1e-12)
    assert found.y[2] > 0


def test_the_three_points_lie_in_the_plane_and_at_their_coordinates(plane, rows):
    found = plane.locate(plane.corners)
    assert found.distance.tolist() == pytest.approx([0, 0, 0], abs=1e-6)
    for k in range(3):
        back = vector(plane, plane(float(found.x[k]), float(found.y[k])))
        assert (back - rows[k]).norm() < 1e-5


def test_a_point_is_the_origin_and_steps_along_the_directions(plane, rows):
    directions = plane.axes @ rows[:3]
    expected = rows[0] + 1.5 * directions[0] - 0.25 * directions[1]
    assert (vector(plane, plane(1.5, -0.25)) - expected).norm() < 1e-6 * expected.norm()


def test_the_coordinates_are_distances(plane):
    near, far = (vector(plane, plane(*place)) for place in ((0.5, 1.0), (3.5, 5.0)))
    assert float((far - near).norm()) == pytest.approx(5.0, rel=1e-5)


def test_the_distance_of_other_points_is_that_of_least_squares(plane, rows):
    found = plane.project(make_points(2, first_seed=4))
    for k in range(2):
        foot = least_squares(rows, rows[3 + k])
        assert float(found.distance[k]) == pytest.approx(float((rows[3 + k] - foot).norm()), rel=1e-9)
        place = vector(plane, plane(float(found.x[k]), float(found.y[k])))
        assert (place - foot).norm() < 1e-5


def test_points_of_the_plane_are_projected_onto_themselves(plane):
    found = plane.project([plane(1.0, 2.0), plane.path.points[1]])
    expected = plane.locate(torch.stack([plane.coefficients(torch.ones(1), 2 * torch.ones(1))[0], plane.corners[1]]))
    torch.testing.assert_close(
        torch.stack([found.x, found.y]), torch.stack([expected.x, expected.y]), rtol=0, atol=1e-5
    )
    assert found.distance.max() < 1e-5


def test_no_points_have_no_projections(plane):
    assert plane.project([]).x.shape == (0,)


def test_in_aligned_factors_a_checkpoint_is_turned_before_it_is_projected():
    points = make_points(4)
    plane = Plane.through(points[:3], space="aligned-factors")
    found = plane.project(points)
    expected = plane.locate(plane.corners)
    torch.testing.assert_close(found.x[:3], expected.x, rtol=0, atol=1e-5)
    turned = PolygonalChain(points, space="aligned-factors").matrix.double()  # [4, P]
    foot = least_squares(turned, turned[3])
    assert float(found.distance[3]) == pytest.approx(float((turned[3] - foot).norm()), rel=1e-5)


def test_a_curve_with_one_bend_lies_in_its_plane(space):
    curve = BezierCurve(make_points(3), space=space)
    plane = Plane.along(curve)
    found = plane.locate(curve.coefficients(torch.linspace(0, 1, 11)))
    assert found.distance.max() < 1e-6
    assert (found.x[0], found.y[0], found.y[-1]) == pytest.approx((0, 0, 0), abs=1e-12)
    assert float(found.x[-1]) == pytest.approx(curve.distance(1.0))


def test_the_third_corner_is_the_point_farthest_from_the_chord():
    curve = BezierCurve(make_points(5), space="factors")
    rows, t = factor_points(5), torch.linspace(0, 1, 101, dtype=torch.float64)
    dense = curve.coefficients(t) @ rows
    chord = (dense[-1] - dense[0]) / (dense[-1] - dense[0]).norm()
    off = dense - dense[0] - ((dense - dense[0]) @ chord)[:, None] * chord
    corners = Plane.along(curve).corners @ rows
    torch.testing.assert_close(corners[2], dense[off.norm(dim=1).argmax()])


def test_points_of_a_curve_with_more_bends_are_off_its_plane_by_what_least_squares_leaves():
    curve = BezierCurve(make_points(5), space="factors")
    plane, rows = Plane.along(curve), factor_points(5)
    corners, row = plane.corners @ rows, curve.coefficients(torch.tensor([0.2]))
    point = (row @ rows)[0]
    expected = float((point - least_squares(corners[[0, 1, 2]], point)).norm())
    assert expected > 0.1
    assert float(plane.locate(row).distance[0]) == pytest.approx(expected, rel=1e-9)


def test_a_grid_covers_the_points_with_a_margin(plane):
    x, y = plane.grid(5, margin=0.5)
    corners = plane.locate(plane.corners)
    for lines, places in ((x, corners.x), (y, corners.y)):
        low, high = places.min(), places.max()
        extent = high - low
        expected = torch.linspace(float(low - 0.5 * extent), float(high + 0.5 * extent), 5, dtype=torch.float64)
        torch.testing.assert_close(lines, expected)


def test_the_grid_has_21_lines_a_fifth_beyond_the_points(plane):
    x, _ = plane.grid()
    width = float(plane.locate(plane.corners).x.max() - plane.locate(plane.corners).x.min())
    assert len(x) == 21
    assert float(x[-1] - x[0]) == pytest.approx(1.4 * width)


def test_a_grid_can_be_made_to_cover_more(plane):
    far = plane.project([plane(50.0, -40.0)])
    x, y = plane.grid(3, margin=0.0, around=far)
    assert (float(x[-1]), float(y[0])) == pytest.approx((50, -40), rel=1e-5)
