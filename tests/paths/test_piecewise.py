"""Chains and Bezier curves in a row: piece by piece the curves that they are made of."""

import pytest
import torch
from dense_curves import de_casteljau, dense_points, factor_points, make_points, update_of
from hypothesis import given, settings
from hypothesis import strategies as st

from modeconn.paths.bezier import BezierCurve
from modeconn.paths.chain import PolygonalChain
from modeconn.paths.line import LinearPath
from modeconn.paths.piecewise import PiecewiseBezier

SPACES = ("weights", "factors", "aligned-factors")
positions = st.floats(0, 1)


def at(*t):
    return torch.tensor(t, dtype=torch.float64)


@pytest.fixture(scope="module")
def chain():
    return PolygonalChain(make_points(4), space="factors")


@pytest.fixture(scope="module")
def cubic():
    """Three curves of degree 3."""
    return PiecewiseBezier(make_points(10), 3, space="factors")


def coordinates(path, point):
    """The point in the path's coordinates."""
    return update_of(point) if path.space == "weights" else point.vector.double()


def reference(rows, degree, t):
    """A point of curves of one degree, by de Casteljau on the piece that holds t."""
    segments = (len(rows) - 1) // degree
    number = min(int(t * segments), segments - 1)
    return de_casteljau(rows[number * degree : (number + 1) * degree + 1], t * segments - number)


@settings(deadline=None)
@given(positions, st.integers(1, 5), st.integers(1, 4))
def test_every_piece_is_the_curve_of_de_casteljau(t, degree, segments):
    rows = torch.randn(segments * degree + 1, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(segments))
    path = PiecewiseBezier(make_points(len(rows)), degree)
    torch.testing.assert_close(path.coefficients(at(t))[0] @ rows, reference(rows, degree, t), rtol=0, atol=1e-12)


@settings(deadline=None)
@given(positions, st.integers(1, 5), st.integers(1, 4))
def test_the_coefficients_are_shares_of_one(t, degree, segments):
    row = PiecewiseBezier(make_points(segments * degree + 1), degree).coefficients(at(t))[0]
    assert (row >= 0).all()
    assert float(row.sum()) == pytest.approx(1.0, abs=1e-14)


@pytest.mark.parametrize("number", [2, 4, 50])
def test_a_chain_goes_through_the_very_points(number):
    points = make_points(number)
    chain = PolygonalChain(points)
    assert chain.joints == tuple(k / (number - 1) for k in range(1, number - 1))
    assert [chain(t) for t in (0.0, *chain.joints, 1.0)] == points


@pytest.mark.parametrize("t", [0.1, 0.4, 0.77])
def test_a_chain_is_straight_between_its_points(t):
    chain, rows = PolygonalChain(make_points(4)), dense_points(4)
    number = int(3 * t)
    expected = rows[number] + (3 * t - number) * (rows[number + 1] - rows[number])
    torch.testing.assert_close(update_of(chain(t)), expected, rtol=1e-5, atol=1e-6)


def test_the_joints_of_curves_are_where_the_next_begins(cubic):
    assert cubic.joints == (1 / 3, 2 / 3)
    assert [cubic(t) for t in (0.0, *cubic.joints, 1.0)] == [cubic.points[k] for k in (0, 3, 6, 9)]


def test_the_tensors_are_on_the_curves(cubic):
    rows = factor_points(10)
    expected = torch.stack([reference(rows, 3, t) for t in (0.2, 0.5, 0.9)])
    torch.testing.assert_close(cubic(at(0.2, 0.5, 0.9)).double(), expected, rtol=1e-5, atol=1e-5)


def test_one_piece_is_a_bezier_curve():
    points = make_points(4)
    t = at(0.0, 0.2, 0.7, 1.0)
    assert torch.equal(PiecewiseBezier(points, 3).coefficients(t), BezierCurve(points).coefficients(t))
    assert PiecewiseBezier(points, 3).joints == ()


def test_pieces_of_degree_one_are_a_chain():
    points = make_points(4)
    t = torch.linspace(0, 1, 11)
    assert torch.equal(PiecewiseBezier(points, 1).coefficients(t), PolygonalChain(points).coefficients(t))


@pytest.mark.parametrize("t", [0.05, 0.3, 0.5, 0.95])
def test_the_derivative_is_that_of_finite_differences(chain, cubic, t):
    step = 1e-6
    for path in (chain, cubic):
        expected = (path.coefficients(at(t + step)) - path.coefficients(at(t - step))) / (2 * step)
        torch.testing.assert_close(path.derivative(at(t)), expected, rtol=1e-7, atol=1e-6)


def test_the_derivative_at_a_joint_is_that_of_the_piece_on_its_right(chain):
    row = chain.derivative(at(*chain.joints))
    expected = at(0, -3, 3, 0), at(0, 0, -3, 3)
    torch.testing.assert_close(row, torch.stack(expected))


@settings(deadline=None, max_examples=25)
@given(positions)
def test_reversal_and_elevation_leave_the_path_unchanged(cubic, t):
    point = cubic(at(t))
    torch.testing.assert_close(cubic.elevated()(at(t)), point, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(cubic.reversed()(at(1 - t)), point, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("space", SPACES)
def test_in_every_space_reversal_elevation_and_segments_are_the_same_path(space):
    path = PiecewiseBezier(make_points(5), 2, space=space)
    for t in (0.1, 0.5, 0.8):
        segment = path.segments[0 if t < 0.5 else 1]
        for other in (path.elevated()(t), path.reversed()(1 - t), segment(2 * t % 1)):
            gap = coordinates(path, other) - coordinates(path, path(t))
            assert gap.norm() < 1e-6 * coordinates(path, path(t)).norm()


def test_an_elevated_path_has_one_bend_more_a_piece_and_the_same_joints(cubic):
    raised = cubic.elevated()
    assert (raised.degree, len(raised.points), raised.joints) == (4, 13, cubic.joints)
    assert [raised.points[k] for k in (0, 4, 8, 12)] == [cubic.points[k] for k in (0, 3, 6, 9)]


def test_an_elevated_chain_is_the_same_path_of_degree_two(chain):
    raised = chain.elevated()
    assert (type(raised), raised.degree) == (PiecewiseBezier, 2)
    torch.testing.assert_close(raised(at(0.1, 0.5)), chain(at(0.1, 0.5)), rtol=1e-5, atol=1e-6)


def test_a_reversed_chain_is_a_chain(chain):
    back = chain.reversed()
    assert (type(back), back.points) == (PolygonalChain, chain.points[::-1])


def test_the_segments_are_the_pieces(cubic):
    first, second, third = cubic.segments
    assert (first.end, second.end, third.end) == (second.start, third.start, cubic.end)
    for number, segment in enumerate(cubic.segments):
        torch.testing.assert_close(segment(at(0.4)), cubic(at((number + 0.4) / 3)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("space", SPACES)
def test_paths_between_two_points_begin_as_the_line(space):
    start, end = make_points(2)
    line = LinearPath(start, end, space=space)
    chain = PolygonalChain.between(start, end, num_bends=3, space=space)
    curves = PiecewiseBezier.between(start, end, num_segments=3, degree=2, space=space)
    assert (len(chain.bends), curves.num_segments, curves.degree) == (3, 3, 2)
    for path, kind in ((chain, "chain"), (curves, "piecewise-bezier")):
        assert (path.name, path.space) == (f"{kind} p0 -> p1", space)
        assert path.distance(1.0) == pytest.approx(line.distance(1.0))
        for t in (0.15, 0.5, 0.8):
            assert path.distance(t) == pytest.approx(line.distance(t), rel=1e-5)
            expected = update_of(line(t))
            assert (update_of(path(t)) - expected).norm() < 1e-5 * expected.norm()
