"""Curves, simplices and planes that cannot be made or asked: the message says why and what to do instead."""

import math
import re

import pytest
import torch
from dense_curves import make_points
from points import make_point, make_tensors

from modeconn.errors import AdapterError, PathError
from modeconn.paths.arclength import arc_lengths, length, reparametrised
from modeconn.paths.bezier import BezierCurve
from modeconn.paths.chain import PolygonalChain
from modeconn.paths.line import LinearPath
from modeconn.paths.piecewise import PiecewiseBezier
from modeconn.paths.plane import Plane
from modeconn.paths.simplex import Simplex
from modeconn.paths.slerp import SlerpPath

SPACES = ("weights", "factors")


def refused(*parts, error=PathError):
    """An error whose message holds these parts in this order."""
    return pytest.raises(error, match="(?s)" + ".*".join(map(re.escape, parts)))


@pytest.fixture
def points():
    return make_points(4)


@pytest.fixture
def diverged():
    """A checkpoint with one NaN."""
    tensors = make_tensors(9)
    next(iter(tensors.values()))[0, 0] = math.nan
    return make_point(tensors, fields={"name": "diverged"})


@pytest.mark.parametrize("number", [0, 1])
def test_too_few_points_for_a_curve(points, number):
    with refused(f"cannot have {number} control points", "a whole number from 2 to 18", f"got: {number}", "both ends"):
        BezierCurve(points[:number])


def test_too_many_points_for_a_curve():
    assert BezierCurve(make_points(18)).degree == 17
    with refused("cannot have 19 control points", "from 2 to 18", "got: 19", "join more bends in a PiecewiseBezier"):
        BezierCurve(make_points(19))


@pytest.mark.parametrize("num_bends", [-1, 17, 1.0])
def test_a_number_of_bends_out_of_range(points, num_bends):
    parts = f"cannot have {num_bends} bends", "a whole number from 0 to 16", f"got: {num_bends}", "choose fewer bends"
    with refused(*parts):
        BezierCurve.between(*points[:2], num_bends=num_bends)


def test_a_curve_that_cannot_be_elevated_again():
    curve = BezierCurve(make_points(18))
    with refused("cannot have 17 bends", "from 0 to 16", "got: 17", "several curves in a PiecewiseBezier"):
        curve.elevated()


@pytest.mark.parametrize("t", [0, 1, -0.2, 1.5, math.nan])
def test_a_split_that_leaves_no_piece(points, t):
    with refused("cannot split the path 'bezier p0 -> p3'", "0 < t < 1", f"got: t = {t:g}", "cut between the ends"):
        BezierCurve(points).split(t)


@pytest.mark.parametrize("kind", [BezierCurve, PolygonalChain, lambda points: PiecewiseBezier(points, 3)])
@pytest.mark.parametrize("t", [-0.1, 1.0001, math.nan])
def test_a_position_off_a_curve(points, kind, t):
    with refused("outside of the path", "p0 -> p3'", "0 <= t <= 1", "choose t between the ends"):
        kind(points)(t)


@pytest.mark.parametrize("kind", [BezierCurve, PolygonalChain])
def test_control_points_of_different_ranks_in_factors_space(points, kind):
    wide = make_point(make_tensors(5, rank=3), r=3)
    with refused("different layouts", 'in space="weights"', error=AdapterError):
        kind([points[0], wide, points[1]], space="factors")


@pytest.mark.parametrize("number", [0, 1])
def test_too_few_points_for_a_chain(points, number):
    with refused(f"cannot have {number} points on a chain", "from 2", f"got: {number}", "the start, the end"):
        PolygonalChain(points[:number])


def test_a_negative_number_of_bends_on_a_chain(points):
    with refused("cannot have -1 bends on a chain", "from 0", "got: -1", "the number of points between the ends"):
        PolygonalChain.between(*points[:2], num_bends=-1)


@pytest.mark.parametrize("number", [0, 2, 4])
def test_points_that_do_not_make_curves_in_a_row(points, number):
    parts = (
        f"{number} points do not make curves of degree 2",
        "3, 5, 7, ... points",
        f"got: {number}",
        "every joint once",
    )
    with refused(*parts):
        PiecewiseBezier(points[:number], 2)


@pytest.mark.parametrize("degree", [0, -2, 18])
def test_curves_in_a_row_of_an_impossible_degree(points, degree):
    with refused(f"cannot have {degree} as the degree", "from 1 to 17", f"got: {degree}", "use degree 2"):
        PiecewiseBezier(points, degree)
    with refused(f"cannot have {degree} as the degree"):
        PiecewiseBezier.between(*points[:2], degree=degree)


def test_no_curves_in_a_row(points):
    with refused("cannot have 0 segments", "from 1", "got: 0", "the number of curves"):
        PiecewiseBezier.between(*points[:2], num_segments=0)


def test_curves_in_a_row_that_cannot_be_elevated_again():
    with refused("cannot have 18 as the degree", "from 1 to 17"):
        PiecewiseBezier(make_points(18), 17).elevated()


@pytest.mark.parametrize("space", SPACES)
def test_the_length_of_a_path_with_nan(points, diverged, space):
    curve = BezierCurve([points[0], diverged, points[1]], space=space)
    parts = "'bezier p0 -> p1' is nan", "finite numbers", "NaN or infinite", "checkpoint that diverged"
    for measured in (length, reparametrised):
        with refused(*parts):
            measured(curve)


@pytest.mark.parametrize("t", [-0.1, 1.1, math.nan])
def test_lengths_and_shares_off_the_path(points, t):
    curve = BezierCurve(points)
    parts = "outside of the path 'bezier p0 -> p3'", "0 <= t <= 1", f"got: t = {t:g}", "between the ends"
    for asked in (lambda share: arc_lengths(curve, share), reparametrised(curve).position):
        with refused(*parts):
            asked(torch.tensor([0.5, t]))


@pytest.mark.parametrize("space", SPACES)
def test_a_path_of_no_length_at_constant_speed(points, space):
    same = make_points(1)[0]  # another object of the same numbers
    with refused(
        "'bezier p0 -> p0' has no length", "points that differ", "3 control points at one place", "two different"
    ):
        reparametrised(BezierCurve.between(points[0], same, space=space))


def test_a_spherical_path_at_constant_speed(points):
    parts = "'slerp p0 -> p1' cannot be travelled", "the same coefficients", "a spherical path", "arc_lengths(path, t)"
    with refused(*parts):
        reparametrised(SlerpPath(*points[:2]))


def test_a_tensor_of_positions_on_a_spherical_path_in_weights_space(points):
    with refused("no matrix of points", "got: a tensor of 2 positions"):
        SlerpPath(*points[:2])(torch.tensor([0.0, 0.5]))


@pytest.mark.parametrize("number", [0, 1])
def test_too_few_corners_of_a_simplex(points, number):
    with refused(f"a simplex cannot have {number} corners", "from 2", f"got: {number}", "two checkpoints or more"):
        Simplex(points[:number])


@pytest.mark.parametrize(
    ("weights", "got"),
    [
        ([0.5, 0.5], "shape [2], sum 1: [0.5, 0.5]"),
        ([0.5, 0.6, 0.1], "shape [3], sum 1.2: [0.5, 0.6, 0.1]"),
        ([1.2, -0.2, 0.0], "shape [3], sum 1: [1.2, -0.2, 0.0]"),
        ([math.nan, 0.5, 0.5], "shape [3], sum nan: [nan, 0.5, 0.5]"),
    ],
)
def test_weights_that_name_no_point_of_a_simplex(points, weights, got):
    parts = (
        "do not name a point of the simplex 'p0 + p1 + p2'",
        "3 numbers, none negative, that sum to 1",
        got,
        "divide",
    )
    with refused(*parts):
        Simplex(points[:3])(weights)


def test_a_negative_number_of_samples(points):
    with refused("cannot have -1 samples", "from 0", "got: -1", "points to draw"):
        Simplex(points).sample(-1, generator=torch.Generator())


@pytest.mark.parametrize("space", SPACES)
def test_a_diverged_checkpoint_has_no_distances(points, diverged, space):
    corners = [points[0], diverged, points[1]]
    parts = "not finite", "points of finite numbers", "got: NaN or infinity in diverged\n", "leave out the checkpoint"
    with refused(*parts):
        _ = Simplex(corners, space=space).volume
    with refused(*parts):
        Plane.through(corners, space=space)
    with refused(*parts):
        Plane.along(BezierCurve(corners, space=space))
    with refused(*parts):
        Plane.through(points[:3], space=space).project([diverged])


@pytest.mark.parametrize("number", [2, 4])
def test_a_plane_through_another_number_of_points(points, number):
    with refused(f"a plane cannot have {number} points", "from 3 to 3", f"got: {number}", "project others"):
        Plane.through(points[:number])


@pytest.mark.parametrize("space", SPACES)
def test_a_plane_through_points_on_a_line(points, space):
    line = LinearPath(*points[:2], space=space)
    parts = "three points on a line", "a third point off the line", "apart, third", "choose another third point"
    for three in ([line.start, line.end, line(0.3)], [line.start, line(0.3), line.end], [*points[:2], points[0]]):
        with refused(*parts):
            Plane.through(three, space=space)


def test_a_plane_through_one_point_twice(points):
    with refused("three points on a line", "got: first two 0 apart, third 0 off their line"):
        Plane.through([points[0], points[0], points[1]])


@pytest.mark.parametrize("space", SPACES)
def test_a_plane_along_a_straight_path(points, space):
    with refused("three points on a line", "for a straight path evaluate the path itself"):
        Plane.along(BezierCurve.between(*points[:2], space=space))


def test_a_plane_along_a_spherical_path(points):
    parts = "no plane along the path 'slerp p0", "the same coefficients", "a spherical path", "path(0.5), path.end])"
    with refused(*parts):
        Plane.along(SlerpPath(*points[:2]))


@pytest.mark.parametrize("place", [(math.nan, 0.0), (0.0, math.inf)])
def test_a_position_that_is_not_on_a_plane(points, place):
    with refused("no point of the plane", "two finite numbers", f"x = {place[0]}, y = {place[1]}", "from grid()"):
        Plane.through(points[:3])(*place)


@pytest.mark.parametrize("margin", [-0.1, math.nan, math.inf])
def test_a_grid_with_an_impossible_margin(points, margin):
    with refused(f"a margin of {margin}", "0 or more", f"got: {margin}", "margin=0.2"):
        Plane.through(points[:3]).grid(margin=margin)


def test_a_grid_of_one_line(points):
    with refused("a grid cannot have 1 lines", "from 2", "got: 1", "num_points=21"):
        Plane.through(points[:3]).grid(1)


def test_projecting_in_a_gauge_that_the_bends_have_left(points):
    curve = BezierCurve(points[:3], space="aligned-factors")
    flipped = curve.points[1].with_vector(-curve.points[1].vector, name="bend")  # the same update, another gauge
    plane = Plane.along(curve.with_points([curve.start, flipped, curve.end]))
    parts = "p3 cannot be brought into the gauge", "aligned with the first", "bends that are not", 'space="weights"'
    with refused(*parts):
        plane.project(points[3:])
