"""Arcs in every parameter: norms are kept, angles grow with t, and the line stands in where there is none."""

import math
from itertools import pairwise

import pytest
import torch
from points import PREFIX, dense, make_point, make_tensors

from modeconn.paths.arclength import arc_lengths, length
from modeconn.paths.line import LinearPath
from modeconn.paths.slerp import SlerpPath

NAMES = ("layers.0.q.weight", "layers.1.v.weight")
T = [0.1, 0.5, 0.8]


@pytest.fixture(scope="module")
def tensors():
    return make_tensors(1), make_tensors(2)


@pytest.fixture(scope="module", params=["weights", "factors", "aligned-factors"])
def path(request, tensors):
    return SlerpPath(*(make_point(one) for one in tensors), space=request.param)


def values(path, point):
    """What is combined: the updates, or the tensors."""
    if path.space == "weights":
        return {name: update.dense().double() for name, update in point.updates.items()}
    return {name: value.double() for name, value in point.tensors.items()}


def arc(first, second, t):
    """Slerp as the rotation of a basis, solved back into the two ends: no sine is divided by."""
    along = first / first.norm()
    across = second / second.norm() - (second / second.norm() * along).sum() * along
    angle = torch.atan2(across.norm(), (second / second.norm() * along).sum())
    basis = torch.stack([torch.tensor([1.0, 0.0]).double(), torch.stack([angle.cos(), angle.sin()])]).T
    weights = torch.linalg.solve(basis, torch.stack([(t * angle).cos(), (t * angle).sin()]))
    return weights[0] * first + weights[1] * second


@pytest.mark.parametrize("t", T)
def test_every_parameter_is_on_its_arc(path, t):
    first, second, found = (values(path, point) for point in (path.start, path.end, path(t)))
    for name in first:
        expected = arc(first[name], second[name], t)
        assert (found[name] - expected).norm() < 2e-6 * expected.norm()


def test_the_ends_are_the_very_points(path):
    assert (path(0), path(1)) == (path.start, path.end)


def test_ends_of_equal_norms_keep_them_on_the_way(tensors):
    lengths = {name: float(update.norm()) for name, update in dense(tensors[0]).items()}
    scaled = dict(tensors[1])
    for name, update in dense(tensors[1]).items():
        scaled[f"{PREFIX}{name.removesuffix('.weight')}.lora_B.weight"] *= lengths[name] / float(update.norm())
    path = SlerpPath(make_point(tensors[0]), make_point(scaled))
    for name, norm in lengths.items():
        assert float(path(0.5).updates[name].dense().norm()) == pytest.approx(norm, rel=1e-5)
    angles = torch.tensor([path.angles[name] * lengths[name] for name in NAMES])
    assert length(path) == pytest.approx(float(angles.norm()), rel=1e-5)


def test_the_angles_are_those_of_the_dense_updates(tensors):
    first, second = dense(tensors[0]), dense(tensors[1])
    path = SlerpPath(*(make_point(one) for one in tensors))
    expected = [math.acos(float((first[n] * second[n]).sum() / first[n].norm() / second[n].norm())) for n in NAMES]
    assert [path.angles[name] for name in NAMES] == pytest.approx(expected, rel=1e-9)


def test_orthogonal_updates_are_combined_by_cosine_and_sine():
    modules = {"layers.0.q": (6, 5)}
    tensors = make_tensors(1, modules=modules, rank=1), make_tensors(2, modules=modules, rank=1)
    down = f"{PREFIX}layers.0.q.lora_A.weight"
    tensors[0][down], tensors[1][down] = torch.eye(5)[:1], torch.eye(5)[1:2]
    path = SlerpPath(*(make_point(one, r=1) for one in tensors))
    rows = path.coefficients_by_parameter(torch.tensor([1 / 3]))["layers.0.q.weight"]
    torch.testing.assert_close(rows, torch.tensor([[math.sqrt(3) / 2, 0.5]], dtype=torch.float64), rtol=1e-7, atol=0)


@pytest.mark.parametrize("factor", [1.0, 2.5, -1.0])
def test_updates_of_one_direction_or_of_opposite_ones_take_the_line(tensors, factor):
    scaled = {name: value * (factor if "lora_B" in name else 1.0) for name, value in tensors[0].items()}
    ends = make_point(tensors[0]), make_point(scaled)
    path, line = SlerpPath(*ends), LinearPath(*ends)
    assert path.angles == dict.fromkeys(NAMES, 0.0)
    for name in NAMES:
        found, expected = (one(0.3).updates[name].dense() for one in (path, line))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_nearly_equal_ends_are_joined_as_by_the_line(tensors):
    noise = make_tensors(3)
    near = {name: value + 1e-5 * noise[name] for name, value in tensors[0].items()}
    ends = make_point(tensors[0]), make_point(near)
    for name, update in SlerpPath(*ends)(0.5).updates.items():
        torch.testing.assert_close(update.dense(), LinearPath(*ends)(0.5).updates[name].dense(), rtol=1e-5, atol=1e-5)


def test_a_module_that_one_end_lacks_takes_the_line(tensors):
    lacking = make_tensors(2, modules={"layers.0.q": (6, 5)})
    path = SlerpPath(make_point(tensors[0]), make_point(lacking))
    assert path.angles["layers.1.v.weight"] == 0.0
    expected = 0.75 * dense(tensors[0])["layers.1.v.weight"]
    torch.testing.assert_close(path(0.25).updates["layers.1.v.weight"].dense().double(), expected, rtol=1e-5, atol=1e-6)


def test_heads_have_arcs_of_their_own():
    head = {"classifier.weight": (3, 5)}
    ends = [make_point(make_tensors(seed, heads=head), modules_to_save=["classifier"]) for seed in (1, 2)]
    first, second = (point.saved["classifier.weight"].double() for point in ends)
    point = SlerpPath(*ends)(0.4)
    torch.testing.assert_close(point.saved["classifier.weight"].double(), arc(first, second, 0.4), rtol=1e-5, atol=1e-6)
    assert point.weight_sum == pytest.approx(1.0)


@pytest.mark.parametrize("t", [0.0, *T, 1.0])
def test_the_distance_is_that_of_the_point_itself(path, t):
    first, found = (values(path, point) for point in (path.start, path(t)))
    expected = sum(((found[name] - first[name]) ** 2).sum() for name in first) ** 0.5
    assert path.distance(t) == pytest.approx(float(expected), rel=1e-5, abs=1e-6)


def test_the_length_is_the_limit_of_chords(path):
    points = [values(path, path(k / 64)) for k in range(65)]
    chords = [float(sum(((b[name] - a[name]) ** 2).sum() for name in a) ** 0.5) for a, b in pairwise(points)]
    assert length(path) == pytest.approx(sum(chords), rel=1e-3)
    assert arc_lengths(path, torch.tensor([0.25]))[0] == pytest.approx(sum(chords[:16]), rel=1e-3)


def test_many_positions_give_the_vectors_of_the_single_points(tensors):
    path = SlerpPath(*(make_point(one) for one in tensors), space="factors")
    t = torch.tensor([0.0, 0.2, 1.0])
    assert torch.equal(path(t), torch.stack([path(float(one)).vector for one in t]))
    assert path(torch.zeros(0)).shape == (0, path.start.layout.num_parameters)


def test_other_points_have_other_angles(tensors):
    points = [make_point(one) for one in (*tensors, make_tensors(3))]
    path = SlerpPath(*points[:2])
    before = path.angles
    moved = path.with_points([points[0], points[2]])
    assert moved.angles == SlerpPath(points[0], points[2]).angles != before
