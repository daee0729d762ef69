"""Nodes, polynomials and what follows from them, against SciPy and dense grids."""

import itertools

import numpy as np
import pytest
import torch
from dense_curves import make_points
from numpy.polynomial import Chebyshev, chebyshev
from scipy.integrate import quad
from scipy.interpolate import BarycentricInterpolator
from scipy.optimize import minimize_scalar

import modeconn as mc
from modeconn.evaluation.chebyshev import coefficients, nodes, through
from modeconn.evaluation.interpolant import Interpolant
from modeconn.paths.bezier import BezierCurve
from modeconn.paths.chain import PolygonalChain
from modeconn.paths.curve import speed
from modeconn.paths.line import LinearPath

DENSE = np.linspace(0, 1, 2001)


def wavy(t):
    """A smooth function whose highest place is inside."""
    return np.sin(7 * t) + np.exp(-t) * t


def curve_of(function, *, degree=32, knots=(0.0, 1.0)):
    """The interpolant of a function between knots."""
    pairs = itertools.pairwise(knots)
    return Interpolant([through(function(np.array(nodes(degree, low, high))), low, high) for low, high in pairs])


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (1 / 3, 2 / 3), (0.1, 0.7)])
def test_nodes_are_those_of_the_formula_and_nested_bit_by_bit(low, high):
    for degree in (4, 8, 16, 32, 64):
        found = nodes(degree, low, high)
        expected = low + (high - low) * (1 - np.cos(np.pi * np.arange(degree + 1) / degree)) / 2
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)
        assert found == nodes(2 * degree, low, high)[::2]
        assert (found[0], found[-1]) == (low, high)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.25, 0.4)])
def test_the_polynomial_goes_through_the_values(low, high):
    values = np.random.default_rng(0).normal(size=17)
    x = nodes(16, low, high)
    inside = np.linspace(low, high, 2001)
    expected = BarycentricInterpolator(x, values)(inside)
    np.testing.assert_allclose(through(values, low, high)(inside), expected, atol=1e-11)


def test_columns_have_coefficients_of_their_own():
    values = np.random.default_rng(1).normal(size=(9, 3))
    found = coefficients(values)
    expected = chebyshev.chebfit(2 * np.array(nodes(8)) - 1, values, 8)
    np.testing.assert_allclose(found, expected, atol=1e-13)


def test_values_and_derivatives_are_the_functions():
    curve = curve_of(wavy)
    np.testing.assert_allclose(curve(DENSE), wavy(DENSE), atol=1e-13)
    slope = 7 * np.cos(7 * DENSE) + np.exp(-DENSE) * (1 - DENSE)
    np.testing.assert_allclose(curve.derivative(DENSE), slope, atol=1e-10)
    bend = -49 * np.sin(7 * DENSE) + np.exp(-DENSE) * (DENSE - 2)
    np.testing.assert_allclose(curve.derivative(DENSE, order=2), bend, atol=1e-7)
    assert isinstance(curve(0.3), float)


def test_a_kink_lies_at_the_joint_and_the_right_piece_counts_there():
    curve = curve_of(lambda t: np.abs(t - 0.3), degree=4, knots=(0.0, 0.3, 1.0))
    np.testing.assert_allclose(curve(DENSE), np.abs(DENSE - 0.3), atol=1e-14)
    assert curve.joints == (0.3,)
    np.testing.assert_allclose(curve.derivative([0.0, 0.299, 0.3, 1.0]), [-1, -1, 1, 1], atol=1e-12)
    assert curve.minimum() == pytest.approx((0.3, 0.0), abs=1e-14)


@pytest.mark.parametrize("sign", [1, -1])
def test_extremes_are_those_that_scipy_finds(sign):
    curve = curve_of(lambda t: sign * wavy(t))
    found = curve.maximum() if sign == 1 else curve.minimum()
    expected = minimize_scalar(lambda t: -wavy(t), bounds=(0, 0.5), method="bounded", options={"xatol": 1e-12})
    assert found.t == pytest.approx(expected.x, abs=1e-7)
    assert sign * found.value == pytest.approx(-expected.fun, abs=1e-13)


def test_an_extreme_may_be_an_end():
    curve = curve_of(np.exp)
    assert curve.maximum() == pytest.approx((1.0, np.e))
    assert curve.minimum() == pytest.approx((0.0, 1.0))


def test_a_flat_top_is_found():
    # (t - 0.4)^4 has a triple root in its derivative, which the eigenvalues scatter by 1e-5
    found = curve_of(lambda t: -((t - 0.4) ** 4), degree=16).maximum()
    assert found.t == pytest.approx(0.4, abs=1e-3)
    assert found.value == pytest.approx(0, abs=1e-14)


def test_barriers_worked_by_hand():
    # 4 t (1 - t) + t: the chord is t, so the barrier is 1 at the middle; the mean of the ends is 0.5
    curve = curve_of(lambda t: 4 * t * (1 - t) + t, degree=4)
    chord, mean = curve.barrier("chord"), curve.barrier("mean")
    assert (chord.t, chord.height) == pytest.approx((0.5, 1.0))
    assert (mean.t, mean.height) == pytest.approx((0.625, 25 / 16 - 0.5))


def test_a_descent_has_no_barrier_against_the_chord():
    curve = curve_of(lambda t: np.exp(-3 * t))
    assert curve.barrier() == mc.Barrier(0.0, 0.0)
    assert curve.barrier("mean").height == pytest.approx((1 - np.exp(-3)) / 2)


@pytest.mark.parametrize("slope", [0.0, 1e5, -1e7])
def test_a_straight_line_has_no_barrier_of_rounding(slope):
    curve = curve_of(lambda t: 1.1 + slope * t)
    assert curve.barrier() == mc.Barrier(0.0, 0.0)


@pytest.mark.parametrize("knots", [(0.0, 1.0), (0.0, 0.5, 1.0)])
def test_the_barrier_is_that_of_a_dense_grid(knots):
    curve = curve_of(wavy, knots=knots)
    for baseline in ("chord", "mean"):
        expected = mc.barrier(DENSE, wavy(DENSE), baseline=baseline)
        found = curve.barrier(baseline)
        assert expected.height <= found.height + 1e-12
        assert found.height == pytest.approx(expected.height, abs=1e-5)
        assert found.t == pytest.approx(expected.t, abs=5e-4)


def test_integrals_over_t_and_over_length():
    curve = curve_of(wavy, knots=(0.0, 0.5, 1.0))
    assert curve.integral() == pytest.approx(quad(wavy, 0, 1)[0], abs=1e-13)
    points = make_points(3)
    for path in (BezierCurve(points, space="factors"), PolygonalChain([points[0], points[2], points[1]])):

        def pace(t, path=path):
            return float(speed(path, torch.tensor([t])))

        halves = [(0, 0.5), (0.5, 1)]
        weighted = sum(quad(lambda t: wavy(t) * pace(t), *half)[0] for half in halves)
        length = sum(quad(pace, *half)[0] for half in halves)
        assert curve.mean_over_length(path) == pytest.approx(weighted / length, rel=1e-8)


def test_at_constant_speed_both_means_are_one():
    curve = curve_of(wavy)
    assert curve.mean_over_length(LinearPath(*make_points(2))) == pytest.approx(curve.integral(), abs=1e-13)


def test_a_curve_refuses_what_it_cannot_answer():
    curve = curve_of(wavy)
    for t in (-0.1, 1.5, np.nan):
        with pytest.raises(mc.EvaluationError, match=r"(?s)outside of the profile.*0 <= t <= 1.*choose t"):
            curve([0.5, t])
    with pytest.raises(mc.EvaluationError, match=r"(?s)unknown baseline 'max'.*chord or mean"):
        curve.barrier("max")
    point = make_points(1)[0]
    with pytest.raises(mc.EvaluationError, match=r"(?s)no mean over the length.*at one place.*integral\(\)"):
        curve.mean_over_length(LinearPath(point, point, name="nowhere"))


def test_pieces_are_chebyshev_polynomials_of_numpy():
    curve = curve_of(wavy, degree=16, knots=(0.0, 0.5, 1.0))
    assert all(isinstance(piece, Chebyshev) for piece in curve.pieces)
    assert curve.degree == 16
