"""Lengths against quadrature over dense points, and positions of constant speed."""

import math
from itertools import pairwise

import pytest
import torch
from dense_curves import de_casteljau, dense_points, factor_points, make_points, update_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from modeconn.paths.arclength import arc_lengths, length, reparametrised
from modeconn.paths.bezier import BezierCurve
from modeconn.paths.chain import PolygonalChain
from modeconn.paths.line import LinearPath
from modeconn.paths.path import Path
from modeconn.paths.piecewise import PiecewiseBezier


def placed(*coordinates):
    """Points at coordinates in two orthogonal directions, in factors space."""
    origin = make_points(1)[0]
    places = []
    for x, y in coordinates:
        vector = torch.zeros(origin.layout.num_parameters)
        vector[3], vector[7] = x, y
        places.append(origin.with_vector(vector))
    return places


def dense_speed(rows, t):
    """The speed of a Bezier curve through dense points."""
    return float(((len(rows) - 1) * de_casteljau(rows.diff(dim=0), t)).norm())


@pytest.mark.parametrize("number", [2, 3, 4, 6])
@pytest.mark.parametrize("space", ["weights", "factors"])
def test_the_length_of_a_curve_is_that_of_its_dense_points(space, number):
    rows = (dense_points if space == "weights" else factor_points)(number)
    expected, _ = quad(lambda t: dense_speed(rows, t), 0, 1, epsabs=0, epsrel=1e-12)
    assert length(BezierCurve(make_points(number), space=space)) == pytest.approx(expected, rel=1e-10)


def test_the_length_of_a_parabola_around_a_corner():
    curve = BezierCurve(placed((1, 0), (1, 1), (0, 1)), space="factors")
    assert length(curve) == pytest.approx(1 + math.asinh(1) / math.sqrt(2), rel=1e-12)


def test_the_length_of_a_line_is_its_distance():
    line = LinearPath(*make_points(2))
    assert length(line) == pytest.approx(line.distance(1.0), rel=1e-12)


def test_the_length_of_a_chain_is_the_sum_of_its_segments():
    rows = dense_points(4)
    expected = float(rows.diff(dim=0).norm(dim=1).sum())
    assert length(PolygonalChain(make_points(4))) == pytest.approx(expected, rel=1e-12)


def test_the_length_of_curves_in_a_row_is_the_sum_of_theirs():
    path = PiecewiseBezier(make_points(7), 2)
    assert length(path) == pytest.approx(sum(length(segment) for segment in path.segments), rel=1e-6)


def test_a_path_that_turns_back_is_as_long_as_the_way_there_and_back():
    turn = 2 / 3.4  # where 2 t (1 - t) + 0.3 t^2 is largest, and as large as t itself
    curve = BezierCurve(placed((0, 0), (1, 0), (0.3, 0)), space="factors")
    assert length(curve) == pytest.approx(2 * turn - 0.3, rel=1e-7)


def test_a_path_without_a_derivative_is_differentiated():
    class Parabola(Path):
        def coefficients(self, t):
            t = t.double()
            return torch.stack([(1 - t) ** 2, 2 * t * (1 - t), t**2], dim=1)

    points = make_points(3)
    assert length(Parabola(points)) == pytest.approx(length(BezierCurve(points)), rel=1e-12)


def test_a_path_whose_coefficients_do_not_depend_on_t_stands_still():
    class Standing(Path):
        def coefficients(self, t):
            return t.double().unsqueeze(1) * torch.tensor([0.0, 0.0]) + torch.tensor([1.0, 0.0])

    assert length(Standing(make_points(2))) == 0.0


def test_the_lengths_of_the_way_are_those_of_the_pieces_before():
    curve, t = BezierCurve(make_points(4), space="factors"), torch.tensor([0.0, 0.2, 0.55, 1.0])
    found = arc_lengths(curve, t)
    pieces = [length(curve.split(float(one))[0]) for one in t[1:3]]
    assert found.tolist() == pytest.approx([0.0, *pieces, length(curve)], rel=1e-6)


@pytest.mark.parametrize("kind", [BezierCurve, PolygonalChain])
@pytest.mark.parametrize("space", ["weights", "factors", "aligned-factors"])
def test_the_speed_by_arc_length_is_constant(kind, space):
    path = reparametrised(kind(make_points(5), space=space))
    t = torch.linspace(0, 1, 23, dtype=torch.float64)
    assert path.speed(t).tolist() == pytest.approx([path.length] * 23, rel=1e-9)


def test_equal_shares_of_the_length_lie_equally_far_apart_on_the_dense_curve():
    rows, curve = dense_points(4), BezierCurve(make_points(4))
    knots = reparametrised(curve).position(torch.linspace(0, 1, 6, dtype=torch.float64)).tolist()
    lengths = [quad(lambda t: dense_speed(rows, t), *pair, epsabs=0, epsrel=1e-12)[0] for pair in pairwise(knots)]
    assert lengths == pytest.approx([length(curve) / 5] * 5, rel=1e-9)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_the_position_inverts_the_length(shares):
    curve = BezierCurve(make_points(4), space="factors")
    path, share = reparametrised(curve), torch.tensor(shares, dtype=torch.float64)
    back = arc_lengths(curve, path.position(share)) / path.length
    torch.testing.assert_close(back, share, rtol=0, atol=1e-11)


def test_the_inverse_holds_where_the_path_stands_still():
    curve = BezierCurve(placed((0, 0), (1, 0), (0.3, 0)), space="factors")
    path, share = reparametrised(curve), torch.linspace(0, 1, 41, dtype=torch.float64)
    back = arc_lengths(curve, path.position(share)) / path.length
    torch.testing.assert_close(back, share, rtol=0, atol=1e-7)


def test_a_chain_with_a_segment_of_no_length_has_its_corners_at_their_shares():
    path = reparametrised(PolygonalChain(placed((0, 0), (3, 0), (3, 0), (3, 1)), space="factors"))
    assert path.length == pytest.approx(4.0)
    assert path.joints == pytest.approx((0.75, 0.75))
    assert path(0.5).vector[3] == pytest.approx(2.0)
    assert path(0.875).vector[7] == pytest.approx(0.5)


def test_the_path_by_arc_length_goes_through_the_same_points():
    curve = BezierCurve(make_points(3))
    path = reparametrised(curve)
    for share in (0.1, 0.5, 0.8):
        t = float(path.position(torch.tensor([share]))[0])
        assert abs(t - share) > 1e-3
        torch.testing.assert_close(update_of(path(share)), update_of(curve(t)), rtol=1e-6, atol=1e-6)


def test_it_keeps_the_ends_the_points_the_name_and_the_space():
    curve = BezierCurve(make_points(3), space="aligned-factors")
    path = reparametrised(curve)
    assert (path(0), path(1)) == (curve.start, curve.end)
    assert (path.points, path.name, path.space) == (curve.points, curve.name, curve.space)


def test_its_derivative_is_that_of_finite_differences():
    path, t, step = reparametrised(BezierCurve(make_points(4))), torch.tensor([0.3, 0.6]).double(), 1e-5
    expected = (path.coefficients(t + step) - path.coefficients(t - step)) / (2 * step)
    torch.testing.assert_close(path.derivative(t), expected, rtol=1e-6, atol=1e-6)


def test_its_joints_are_the_shares_of_the_segments():
    rows, path = dense_points(4), reparametrised(PolygonalChain(make_points(4)))
    sizes = rows.diff(dim=0).norm(dim=1)
    assert path.joints == pytest.approx((sizes.cumsum(0)[:2] / sizes.sum()).tolist(), rel=1e-10)


def test_moved_points_are_measured_anew():
    points = make_points(4)
    path = reparametrised(BezierCurve(points[:3])).with_points([points[0], points[3], points[2]])
    expected = reparametrised(BezierCurve([points[0], points[3], points[2]]))
    assert path.length == expected.length
    assert torch.equal(path.position(torch.tensor([0.3])), expected.position(torch.tensor([0.3])))


def test_no_positions_have_no_lengths():
    curve = BezierCurve(make_points(3))
    assert arc_lengths(curve, torch.zeros(0)).shape == (0,)
    assert reparametrised(curve).position(torch.zeros(0)).shape == (0,)
