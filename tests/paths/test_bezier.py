"""Bezier curves against de Casteljau's recursion on dense points."""

import pytest
import torch
from dense_curves import de_casteljau, dense_points, factor_points, make_points, update_of
from hypothesis import given, settings
from hypothesis import strategies as st
from points import make_point, make_tensors

from modeconn.paths.bezier import BezierCurve, bernstein, bernstein_derivative
from modeconn.paths.line import LinearPath

SPACES = ("weights", "factors", "aligned-factors")
NUM_POINTS = 5
positions = st.floats(0, 1)
degrees = st.integers(1, 17)


def control_points(degree):
    return torch.randn(degree + 1, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(degree))


def at(t):
    return torch.tensor([t], dtype=torch.float64)


@pytest.fixture(scope="module", params=SPACES)
def curve(request):
    return BezierCurve(make_points(NUM_POINTS), space=request.param)


def vectors(curve, point):
    """The point in the curve's coordinates."""
    return update_of(point) if curve.space == "weights" else point.vector.double()


@settings(deadline=None)
@given(positions, degrees)
def test_the_coefficients_draw_the_curve_of_de_casteljau(t, degree):
    rows = control_points(degree)
    torch.testing.assert_close(bernstein(at(t), degree)[0] @ rows, de_casteljau(rows, t), rtol=0, atol=1e-13)


@settings(deadline=None)
@given(positions, degrees)
def test_the_coefficients_are_shares_of_one(t, degree):
    row = bernstein(at(t), degree)[0]
    assert (row >= 0).all()
    assert float(row.sum()) == pytest.approx(1.0, abs=4e-15)


@pytest.mark.parametrize("degree", [1, 2, 5, 17])
def test_at_the_ends_one_coefficient_is_one_and_all_others_are_zero(degree):
    rows = bernstein(torch.tensor([0.0, 1.0]), degree)
    assert torch.equal(rows, torch.eye(degree + 1, dtype=torch.float64)[[0, -1]])


@pytest.mark.parametrize("degree", [1, 2, 3, 17])
@pytest.mark.parametrize("t", [0.1, 0.5, 0.83])
def test_the_derivative_is_that_of_finite_differences(degree, t):
    step = 1e-6
    expected = (bernstein(at(t + step), degree) - bernstein(at(t - step), degree)) / (2 * step)
    torch.testing.assert_close(bernstein_derivative(at(t), degree), expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("degree", [1, 3, 17])
def test_the_curve_leaves_its_ends_along_the_control_polygon(degree):
    rows = bernstein_derivative(torch.tensor([0.0, 1.0]), degree)
    expected = torch.zeros(2, degree + 1, dtype=torch.float64)
    expected[0, :2], expected[1, -2:] = (torch.tensor([-degree, degree]) for _ in range(2))
    assert torch.equal(rows, expected)


def test_in_weights_space_the_dense_updates_are_on_the_curve():
    curve, rows = BezierCurve(make_points(NUM_POINTS)), dense_points(NUM_POINTS)
    for t in (0.2, 0.5, 0.9):
        expected = de_casteljau(rows, t)
        assert (update_of(curve(t)) - expected).norm() < 1e-6 * expected.norm()


def test_in_factors_space_the_tensors_are_on_the_curve():
    curve, rows = BezierCurve(make_points(NUM_POINTS), space="factors"), factor_points(NUM_POINTS)
    found = curve(torch.tensor([0.2, 0.5, 0.9]))
    expected = torch.stack([de_casteljau(rows, t) for t in (0.2, 0.5, 0.9)])
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-6)


def test_the_ends_are_the_very_points(curve):
    assert curve(0) is curve.start is curve.points[0]
    assert curve(1.0) is curve.end is curve.points[-1]


def test_the_ends_are_those_that_were_given():
    points = make_points(3)
    for space in ("weights", "factors"):
        curve = BezierCurve(points, space=space)
        assert (curve(0), curve(1)) == (points[0], points[2])


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("num_bends", [0, 1, 2, 16])
def test_a_curve_between_two_points_begins_as_the_line(space, num_bends):
    start, end = make_points(2)
    curve, line = BezierCurve.between(start, end, num_bends=num_bends, space=space), LinearPath(start, end, space=space)
    assert (len(curve.bends), curve.name, curve.space) == (num_bends, "bezier p0 -> p1", space)
    for t in (0.3, 0.5, 0.8):
        gap = vectors(curve, curve(t)) - vectors(line, line(t))
        assert gap.norm() < 1e-6 * vectors(line, line(t)).norm()


def test_the_bends_lie_evenly():
    curve = BezierCurve.between(*make_points(2), num_bends=3)
    start, end = dense_points(2)
    for k, bend in enumerate(curve.bends, start=1):
        torch.testing.assert_close(update_of(bend), start + k / 4 * (end - start), rtol=1e-5, atol=1e-6)


def test_a_bend_has_the_rank_of_both_ends_together():
    ends = [make_point(make_tensors(seed, rank=rank), r=rank) for seed, rank in ((1, 2), (2, 3))]
    curve = BezierCurve.between(*ends, num_bends=2)
    assert {update.rank for bend in curve.bends for update in bend.updates.values()} == {5}
    assert {update.rank for update in curve(0.4).updates.values()} == {5}


def test_a_name_can_be_given():
    assert BezierCurve.between(*make_points(2), name="curve").name == "curve"


@settings(deadline=None, max_examples=20)
@given(positions, st.integers(2, 6))
def test_reversal_runs_the_same_curve_backwards(t, number):
    curve = BezierCurve(make_points(number), space="factors")
    there, back = curve(torch.tensor([t])), curve.reversed()(torch.tensor([1 - t]).double())
    torch.testing.assert_close(back, there, rtol=1e-5, atol=1e-6)


def test_a_reversed_curve_ends_at_the_very_start(curve):
    back = curve.reversed()
    assert (back.start, back.end, back.name) == (curve.end, curve.start, f"{curve.name} reversed")
    assert back.reversed().points == curve.points


@settings(deadline=None, max_examples=20)
@given(positions, st.integers(2, 6))
def test_elevation_leaves_the_curve_unchanged(t, number):
    curve = BezierCurve(make_points(number), space="factors")
    raised = curve.elevated()
    assert raised.degree == curve.degree + 1
    torch.testing.assert_close(raised(torch.tensor([t])), curve(torch.tensor([t])), rtol=1e-5, atol=1e-6)


def test_elevation_and_reversal_leave_the_curve_unchanged_in_every_space(curve):
    point = vectors(curve, curve(0.3))
    for other in (curve.elevated()(0.3), curve.reversed()(0.7)):
        assert (vectors(curve, other) - point).norm() < 1e-6 * point.norm()


def test_an_elevated_curve_has_the_very_ends(curve):
    raised = curve.elevated()
    assert (raised.start, raised.end, raised.name) == (curve.start, curve.end, curve.name)


@pytest.mark.parametrize("cut", [0.25, 0.5, 0.9])
def test_the_pieces_of_a_split_are_the_curve(curve, cut):
    left, right = curve.split(cut)
    for s in (0.0, 0.4, 1.0):
        for piece, t in ((left, s * cut), (right, cut + s * (1 - cut))):
            expected = vectors(curve, curve(t))
            assert (vectors(curve, piece(s)) - expected).norm() < 2e-6 * expected.norm()


def test_the_pieces_keep_the_ends_and_the_degree(curve):
    left, right = curve.split(0.3)
    assert (left.start, right.end) == (curve.start, curve.end)
    assert left.degree == right.degree == curve.degree
    assert (left.name, right.name) == (f"{curve.name} up to t=0.3", f"{curve.name} from t=0.3")


def test_the_control_points_of_a_piece_are_those_of_the_triangle():
    rows = factor_points(4)
    left, right = BezierCurve(make_points(4), space="factors").split(0.3)
    for k in range(4):
        found = torch.stack([piece.points[k].vector.double() for piece in (left, right)])
        expected = torch.stack([de_casteljau(rows[: k + 1], 0.3), de_casteljau(rows[k:], 0.3)])
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_curve_made_from_another_has_a_gram_matrix_of_its_own(curve):
    assert curve.gram.shape == (NUM_POINTS, NUM_POINTS)
    raised = curve.elevated()
    assert raised.gram.shape == (NUM_POINTS + 1, NUM_POINTS + 1)
    assert raised.distance(0.6) == pytest.approx(curve.distance(0.6), rel=1e-6)
