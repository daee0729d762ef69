"""Curves between points whose updates are functions of the base's weights: measured once the base is at hand."""

from dataclasses import replace

import pytest
import torch
from points import make_point, make_tensors

from modeconn.adapters.kinds.ia3 import Scaled
from modeconn.adapters.update import Update
from modeconn.errors import AdapterError
from modeconn.paths.arclength import length, reparametrised
from modeconn.paths.bezier import BezierCurve
from modeconn.paths.plane import Plane
from modeconn.paths.simplex import Simplex
from modeconn.paths.slerp import SlerpPath

SHAPE = (6, 5)
WEIGHT = "q.weight"


class Base:
    """One matrix, and no bias."""

    def weight(self, parameter):
        assert parameter == WEIGHT
        return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))

    def transposed(self, parameter):
        return parameter != WEIGHT

    def has(self, parameter):
        return parameter == WEIGHT


def scales(seed):
    return torch.randn(SHAPE[0], 1, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def points():
    """Points that scale the rows of the base's matrix, as (IA)^3 does."""
    plain = make_point(make_tensors(0, modules={"q": SHAPE}))
    updates = [Update.of(Scaled(scales(seed)[:, 0], inputs=False)) for seed in range(1, 5)]
    return [replace(plain, updates={WEIGHT: update}, own=None) for update in updates]


@pytest.fixture
def rows():
    """Their dense updates, `[4, P]`, float64."""
    return torch.stack(
        [((scales(seed).double() - 1) * Base().weight(WEIGHT).double()).reshape(-1) for seed in range(1, 5)]
    )


def test_without_the_base_a_curve_has_points_but_no_length(points):
    curve = BezierCurve(points)
    assert curve(0.5).needs_base
    with pytest.raises(AdapterError, match=r"IA3|Scaled"):
        length(curve)


def test_with_the_base_the_length_is_that_of_the_dense_curve(points, rows):
    curve = BezierCurve(points).on(Base())
    t = torch.linspace(0, 1, 2001, dtype=torch.float64)
    chords = (curve.coefficients(t) @ rows).diff(dim=0).norm(dim=1)
    assert length(curve) == pytest.approx(float(chords.sum()), rel=1e-5)
    assert reparametrised(curve).length == length(curve)


def test_a_curve_made_from_one_on_a_base_has_the_base(points):
    curve = BezierCurve(points).on(Base())
    assert length(curve.reversed()) == pytest.approx(length(curve), rel=1e-6)
    assert length(curve.elevated()) == pytest.approx(length(curve), rel=1e-6)


def test_the_volume_is_that_of_the_dense_updates(points, rows):
    edges = rows[1:3] - rows[0]
    expected = float(torch.linalg.det(edges @ edges.T).sqrt()) / 2
    assert Simplex(points[:3], base=Base()).volume == pytest.approx(expected, rel=1e-6)


def test_a_plane_projects_by_the_dense_updates(points, rows):
    found = Plane.through(points[:3], base=Base()).project(points[3:])
    edges = (rows[1:3] - rows[0]).T
    gap = rows[3] - rows[0]
    foot = edges @ torch.linalg.lstsq(edges, gap.unsqueeze(1)).solution
    assert float(found.distance[0]) == pytest.approx(float((gap - foot[:, 0]).norm()), rel=1e-5)


def test_the_angle_of_an_arc_is_that_of_the_dense_updates(points, rows):
    path = SlerpPath(*points[:2]).on(Base())
    cosine = torch.nn.functional.cosine_similarity(rows[0], rows[1], dim=0)
    assert path.angles[WEIGHT] == pytest.approx(float(cosine.arccos()), rel=1e-6)
    expected = path.coefficients_by_parameter(torch.tensor([0.5]))[WEIGHT][0] @ rows[:2]
    torch.testing.assert_close(
        path(0.5).on(Base()).updates[WEIGHT].dense().double().reshape(-1), expected, rtol=1e-5, atol=1e-5
    )
