"""Path folders: what is read back is the path that was saved, bit for bit."""

import json

import pytest
import torch
from points import make_point, make_tensors

import modeconn as mc
from modeconn.adapters.gauge import regauge
from modeconn.paths import PiecewiseBezier, SlerpPath, load_path, save_path

POSITIONS = (0.0, 0.3, 0.5, 0.77, 1.0)


def ends(**settings):
    names = [{"fields": {"name": name}} for name in ("start", "end")]
    return [make_point(make_tensors(seed), **fields, **settings) for seed, fields in enumerate(names)]


def bent(space):
    """A curve whose bend is not on the line."""
    a, b = ends()
    curve = mc.BezierCurve.between(a, b, space=space)
    middle = regauge(curve.points[1], seed=5, strength=0.3)
    return curve.with_points([curve.start, middle, curve.end])


@pytest.mark.parametrize("space", ["weights", "factors", "aligned-factors"])
def test_a_curve_reads_back_bit_for_bit(tmp_path, space):
    curve = bent(space)
    again = load_path(save_path(curve, tmp_path / "path"))
    assert (type(again), again.space, again.name) == (type(curve), space, curve.name)
    for t in POSITIONS:
        assert again(t).fingerprint == curve(t).fingerprint


@pytest.mark.parametrize(
    "make",
    [
        lambda a, b: mc.LinearPath(a, b),
        lambda a, b: mc.PolygonalChain.between(a, b, num_bends=2),
        lambda a, b: PiecewiseBezier.between(a, b, num_segments=2, degree=2),
        lambda a, b: SlerpPath(a, b),
    ],
    ids=["line", "chain", "piecewise", "slerp"],
)
def test_every_kind_of_path_reads_back(tmp_path, make):
    path = make(*ends())
    again = load_path(save_path(path, tmp_path / "path"))
    assert type(again) is type(path)
    rows = [one.coefficients(torch.tensor(POSITIONS, dtype=torch.float64)) for one in (path, again)]
    assert torch.equal(*rows)
    assert [point.fingerprint for point in again.points] == [point.fingerprint for point in path.points]


def test_a_run_folder_that_holds_a_path_is_one(tmp_path):
    curve = bent("weights")
    save_path(curve, tmp_path / "path")
    assert load_path(tmp_path).name == curve.name


def test_a_point_that_changed_is_noticed(tmp_path):
    save_path(bent("weights"), tmp_path / "path")
    mc.Adapter.from_tensors(make_tensors(9), ends()[0].config).save_pretrained(tmp_path / "path" / "point-1")
    with pytest.raises(mc.PathError, match=r"(?s)is not the one that was saved.*fingerprint.*fit the path again"):
        load_path(tmp_path / "path")


def test_a_path_is_replaced_and_anything_else_is_not(tmp_path):
    save_path(bent("weights"), tmp_path / "path")
    save_path(mc.LinearPath(*ends()), tmp_path / "path")
    assert isinstance(load_path(tmp_path / "path"), mc.LinearPath)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.txt").write_text("years of work")
    with pytest.raises(mc.PathError, match=r"(?s)cannot save a path.*thesis.txt.*another folder"):
        save_path(bent("weights"), tmp_path / "notes")
    assert (tmp_path / "notes" / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (None, "no such file"),
        ("[]", "list"),
        ("{", "JSONDecodeError"),
        ('{"kind": "spiral"}', "spiral"),
        (
            '{"kind": "line", "space": "weights", "name": "x", "points": [{"folder": "../../secret", "name": "a"}]}',
            "secret",
        ),
    ],
)
def test_a_broken_path_folder(tmp_path, content, got):
    if content is not None:
        (tmp_path / "path.json").write_text(content)
    with pytest.raises(mc.PathError, match=rf"(?s)cannot read.*{got}"):
        load_path(tmp_path)


def test_a_simplex_face_cannot_be_saved(tmp_path):
    path = mc.paths.reparametrised(bent("weights"))
    with pytest.raises(mc.PathError, match=r"(?s)cannot be saved.*bezier.*ArcLengthPath"):
        save_path(path, tmp_path / "path")
    assert not (tmp_path / "path").exists()


def test_path_json_says_what_it_holds(tmp_path):
    save_path(bent("factors"), tmp_path / "path")
    content = json.loads((tmp_path / "path" / "path.json").read_text())
    assert (content["kind"], content["space"], len(content["points"])) == ("bezier", "factors", 3)
