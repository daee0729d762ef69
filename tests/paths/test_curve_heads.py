"""Whose head counts along a curve: every kind takes the policies of a line."""

import pytest
import torch
from points import make_point, make_tensors

import modeconn as mc
from modeconn.errors import AdapterError
from modeconn.paths import SlerpPath

KINDS = {
    "bezier": lambda points, **options: mc.BezierCurve(points, **options),
    "chain": lambda points, **options: mc.PolygonalChain(points, **options),
    "piecewise": lambda points, **options: mc.PiecewiseBezier(points, 2, **options),
    "slerp": lambda points, **options: SlerpPath(points[0], points[-1], **options),
}
SPACES = ("weights", "factors", "aligned-factors")
HEAD = "classifier.weight"


def points():
    """Points whose heads have three, four and two classes."""
    return [
        make_point(
            make_tensors(seed, heads={HEAD: (size, 5)}),
            modules_to_save=["classifier"],
            fields={"name": f"p{seed}", "provenance": {"labels": [f"class {number}" for number in range(size)]}},
        )
        for seed, size in enumerate((3, 4, 2))
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_policy_heads_of_different_shape_are_refused(kind):
    with pytest.raises(AdapterError, match=r'classifier.weight.*\n  remedy: .*heads="shared"'):
        KINDS[kind](points())


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("heads", ["shared", "own"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_point_has_the_starts_head_bit_for_bit(kind, heads, space):
    given = points()
    path = KINDS[kind](given, space=space, heads=heads)
    assert path.head_of_end is given[-1]
    for t in (0.0, 0.3, 0.7, 1.0):
        point = path(t)
        assert torch.equal(point.saved[HEAD], given[0].saved[HEAD])
        assert torch.equal(point.tensors[f"base_model.model.{HEAD}"], given[0].saved[HEAD])
        assert len(point.provenance["labels"]) == 3


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("kind", KINDS)
def test_without_heads_no_point_has_one(kind, space):
    path = KINDS[kind](points(), space=space, heads="skip")
    assert not any(path(t).saved for t in (0.0, 0.3, 1.0))


@pytest.mark.parametrize("kind", [mc.BezierCurve, mc.PolygonalChain, mc.PiecewiseBezier])
def test_a_curve_that_begins_as_the_line_takes_a_policy(kind):
    given = points()
    curve = kind.between(given[0], given[-1], heads="shared")
    line = mc.LinearPath(given[0], given[-1], heads="shared")
    assert curve.heads == "shared"
    assert (curve(0.3) - line(0.3)).norm() < 1e-6 * line(0.3).norm()
    assert all(torch.equal(bend.saved[HEAD], given[0].saved[HEAD]) for bend in curve.bends)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("kind", KINDS)
def test_both_heads_are_saved_with_a_path(kind, space, tmp_path):
    given = points()
    path = KINDS[kind](given, space=space, heads="own")
    again = mc.load_path(mc.save_path(path, tmp_path / "path"))
    assert (again.heads, again.space) == ("own", space)
    assert torch.equal(again.head_of_end.saved[HEAD], given[-1].saved[HEAD])
    assert again.head_of_end.provenance["labels"] == given[-1].provenance["labels"]
    for t in (0.0, 0.3, 1.0):
        assert again(t).fingerprint == path(t).fingerprint
