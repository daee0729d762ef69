"""Bending against closed forms in the plane, and the loss's curvature against a known Hessian."""

import numpy as np
import pytest
import torch
from fit_toys import half_circle, nothing, places, plane_model

import modeconn as mc
from modeconn.errors import EvaluationError, PathError
from modeconn.evaluation.chebyshev import through
from modeconn.evaluation.curvature import curvature, loss_curvature, path_shape
from modeconn.evaluation.interpolant import Interpolant
from modeconn.evaluation.local_loss import LocalLoss
from modeconn.paths import ArcLengthPath, SlerpPath

T = np.array([0.0, 0.2, 0.5, 0.9, 1.0])


def bezier(*xy):
    return mc.BezierCurve(places(*xy))


def closed_form(xy, t):
    """The curvature of a quadratic Bezier curve, `|x' y'' - x'' y'| / |x'|^3`."""
    a, b, c = (np.array(one) for one in xy)
    first = 2 * ((1 - t)[:, None] * (b - a) + t[:, None] * (c - b))
    second = 2 * (a - 2 * b + c)
    return np.abs(first[:, 0] * second[1] - first[:, 1] * second[0]) / np.linalg.norm(first, axis=1) ** 3


def test_a_line_does_not_bend():
    a, b = places((0.0, 0.0), (3.0, 4.0))
    line = mc.LinearPath(a, b)
    assert curvature(line, T).tolist() == [0.0] * 5
    assert path_shape(line) == pytest.approx((5.0, 5.0, 0.0, 0.0, 0.0))


def test_a_bezier_curve_has_its_closed_form():
    xy = ((-1.0, 0.0), (0.4, 0.7), (1.0, 0.0))
    np.testing.assert_allclose(curvature(bezier(*xy), T), closed_form(xy, T), rtol=1e-6)
    fine = np.linspace(0, 1, 513)
    found = path_shape(bezier(*xy))
    assert found.curvature == pytest.approx(closed_form(xy, fine).max(), rel=1e-6)
    assert found.t == pytest.approx(fine[closed_form(xy, fine).argmax()])
    ends = np.array([[1.4, 0.7], [0.6, -0.7]])
    assert found.turn == pytest.approx(np.degrees(np.diff(np.arctan2(ends[:, 1], ends[:, 0]))[0]) * -1, rel=1e-5)
    assert found.distance == pytest.approx(2.0)
    assert found.length == pytest.approx(mc.length(bezier(*xy)))


def test_a_curve_at_constant_speed_bends_as_it_did():
    curve = half_circle()
    slow = ArcLengthPath(curve)
    assert path_shape(slow) == pytest.approx(path_shape(curve))
    at = slow.position(torch.from_numpy(T))
    np.testing.assert_allclose(curvature(slow, T), curvature(curve, at.numpy()), rtol=1e-9)


def test_a_chain_turns_at_its_bends_only():
    chain = mc.PolygonalChain(places((0.0, 0.0), (1.0, 0.0), (1.0, 2.0), (0.0, 2.0)))
    found = path_shape(chain)
    assert found.turn == pytest.approx(180.0, rel=1e-6)
    assert found.curvature == pytest.approx(0.0, abs=1e-9)
    assert (found.length, found.distance) == pytest.approx((4.0, 2.0))


def test_scale_turns_curvature_and_not_the_turn():
    small, large = (path_shape(bezier((-s, 0.0), (0.0, s), (s, 0.0))) for s in (1.0, 10.0))
    assert large.turn == pytest.approx(small.turn, rel=1e-5)
    assert large.curvature == pytest.approx(small.curvature / 10, rel=1e-5)


def quadratic(outputs, _):
    """`(3 x^2 + y^2) / 2 + x`."""
    return (3 * outputs[:, 0] ** 2 + outputs[:, 1] ** 2) / 2 + outputs[:, 0]


def resolved(path):
    profile = mc.evaluate_path(path, plane_model(quadratic), [nothing()], tolerance=1e-4)
    return profile.curve("toy")


def test_on_a_line_it_is_the_hessian_in_the_lines_direction():
    a, b = places((0.0, 0.0), (3.0, 4.0))
    line = mc.LinearPath(a, b)
    found = loss_curvature(resolved(line), line, T)
    direction = np.array([0.6, 0.8])
    assert found == pytest.approx([direction @ np.diag([3.0, 1.0]) @ direction] * 5, rel=1e-3)
    product = LocalLoss.at(a, plane_model(quadratic), nothing()).product
    along = torch.from_numpy(direction)
    assert float(along @ product(along)) == pytest.approx(found[0], rel=1e-3)


def test_errors_of_the_losses_weigh_most_at_the_ends():
    """`0.6 n^4` times their size there, `1.8 n^2` in the middle; `4/3 n^4` nowhere exceeded."""
    line, degree, generator = mc.LinearPath(*places((0.0, 0.0), (1.0, 0.0))), 16, np.random.default_rng(0)
    errors = generator.uniform(-1.0, 1.0, (200, degree + 1))
    found = [loss_curvature(Interpolant([through(one, 0.0, 1.0)]), line, [0.0, 0.5, 1.0]) for one in errors]
    sizes = np.std(found, axis=0) / np.std(errors)
    np.testing.assert_allclose(sizes, [0.6 * degree**4, 1.8 * degree**2, 0.6 * degree**4], rtol=0.15)
    assert np.abs(found).max() <= 4 / 3 * degree**4


def test_on_a_curve_it_is_the_second_derivative_by_length():
    """By the chain rule, `u^T H u + g^T k n` with the curve's direction u and its curvature vector k n."""
    a, b, c = (np.array(one) for one in ((-1.0, 0.0), (0.4, 0.7), (1.0, 0.0)))
    curve, t = bezier(a, b, c), np.array([[0.1], [0.5], [0.8]])
    place = (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c
    first, second = 2 * ((1 - t) * (b - a) + t * (c - b)), 2 * (a - 2 * b + c)
    speed = np.linalg.norm(first, axis=1)
    unit = first / speed[:, None]
    bend = (second - (second * unit).sum(1)[:, None] * unit) / speed[:, None] ** 2
    gradient = place * np.array([3.0, 1.0]) + np.array([1.0, 0.0])
    expected = (unit**2 * np.array([3.0, 1.0])).sum(1) + (gradient * bend).sum(1)
    np.testing.assert_allclose(loss_curvature(resolved(curve), curve, t), expected, rtol=1e-3)


def test_at_constant_speed_the_same_number_is_found():
    curve = half_circle()
    slow = ArcLengthPath(curve)
    at = slow.position(torch.from_numpy(T)).numpy()
    found = loss_curvature(resolved(slow), slow, T)
    np.testing.assert_allclose(found, loss_curvature(resolved(curve), curve, at), rtol=2e-3)


def test_what_has_no_direction_is_refused():
    a, b, again = places((1.0, 2.0), (3.0, 4.0), (1.0, 2.0))
    nowhere = mc.LinearPath(a, again)
    with pytest.raises(PathError, match=r"(?s)has no direction.*expected: control points that differ.*got: 2 of them"):
        path_shape(nowhere)
    line = mc.LinearPath(a, b)
    with pytest.raises(PathError, match=r"(?s)has no direction"):
        loss_curvature(resolved(line), nowhere, T)
    with pytest.raises(PathError, match=r"(?s)0 <= t <= 1"):
        curvature(line, [1.5])
    with pytest.raises(EvaluationError, match=r"(?s)0 <= t <= 1"):
        loss_curvature(resolved(line), line, [1.5])
    for measure in (path_shape, lambda path: curvature(path, T)):
        with pytest.raises(PathError, match=r"(?s)bending of the path.*got: a spherical path.*remedy: measure a line"):
            measure(SlerpPath(a, b))
