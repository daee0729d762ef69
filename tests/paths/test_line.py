"""The line in weights space is (1 - t) dW0 + t dW1, whatever the ranks, modules and gauges of the ends."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from points import PREFIX, assert_updates, dense, dense_norm, dense_sum, make_point, make_tensors

from modeconn.paths import LinearPath

T = [0.1, 0.25, 0.5, 0.9]
OTHER_MODULES = {"layers.1.v": (4, 5), "layers.1.o": (5, 4)}
HEAD = {"classifier.weight": (3, 5)}


@pytest.fixture(scope="module")
def tensors():
    """Tensors of two ends of different ranks and modules."""
    return make_tensors(1), make_tensors(2, rank=3, modules=OTHER_MODULES)


@pytest.fixture(scope="module")
def line(tensors):
    start = make_point(tensors[0], fields={"name": "old"})
    return LinearPath(start, make_point(tensors[1], fields={"name": "new"}, r=3, lora_alpha=2))


@pytest.fixture(scope="module")
def updates(tensors):
    return dense(tensors[0]), dense(tensors[1], scaling=2 / 3)


@pytest.mark.parametrize("space", ["weights", "factors"])
def test_the_ends_are_the_very_adapters(space):
    a, b = make_point(make_tensors(1)), make_point(make_tensors(2))
    line = LinearPath(a, b, space=space)
    assert (line(0), line(1.0)) == (a, b)
    assert (line.start, line.end) == (a, b)


@pytest.mark.parametrize("t", T)
def test_the_updates_are_the_weighted_mean_of_the_dense_updates(line, updates, t):
    assert_updates(line(t), dense_sum((1 - t, updates[0]), (t, updates[1])))


@pytest.mark.parametrize("t", T)
def test_the_rank_is_at_most_the_sum_of_the_ranks(line, t):
    assert {name: update.rank for name, update in line(t).updates.items()} == {
        "layers.0.q.weight": 2,
        "layers.1.o.weight": 3,
        "layers.1.v.weight": 5,
    }


@given(st.floats(0, 1))
def test_the_coefficients_of_a_point_sum_to_one(t):
    line = LinearPath(make_point(make_tensors(1)), make_point(make_tensors(2)))
    row = line.coefficients(torch.tensor([t]))[0]
    assert row.sum() == 1.0
    assert line(t).weight_sum == 1.0


def test_the_coefficients_are_a_row_a_position(line):
    rows = line.coefficients(torch.tensor([0.0, 0.25, 1.0]))
    assert rows.tolist() == [[1.0, 0.0], [0.75, 0.25], [0.0, 1.0]]
    assert rows.dtype == torch.float64


@pytest.mark.parametrize("t", T)
def test_heads_are_on_the_line_as_well(t):
    a, b = (make_point(make_tensors(seed, heads=HEAD), modules_to_save=["classifier"]) for seed in (1, 2))
    first, second = (point.saved["classifier.weight"].double() for point in (a, b))
    found = LinearPath(a, b)(t).saved["classifier.weight"].double()
    torch.testing.assert_close(found, (1 - t) * first + t * second, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("t", [*T, 0.0, 1.0])
def test_the_distance_grows_in_proportion_to_t(line, t):
    assert line.distance(t) == pytest.approx(t * line.distance(1.0), rel=1e-12)


def test_the_whole_distance_is_the_norm_of_the_dense_difference(line, updates):
    difference = dense_norm(dense_sum((1, updates[1]), (-1, updates[0])))
    assert line.distance(1.0) == pytest.approx(difference, rel=1e-12)


def test_a_line_from_a_point_to_itself_stays_there(tensors, updates):
    point = make_point(tensors[0])
    assert_updates(LinearPath(point, point)(0.3), updates[0])


@pytest.mark.parametrize("t", T)
def test_a_line_between_two_gauges_of_one_function_is_constant(tensors, updates, t):
    turned = dict(tensors[0])
    gauge = torch.tensor([[2.0, 1.0], [0.5, -1.5]])
    for name in ("layers.0.q", "layers.1.v"):
        up, down = f"{PREFIX}{name}.lora_B.weight", f"{PREFIX}{name}.lora_A.weight"
        turned |= {up: tensors[0][up] @ gauge, down: torch.linalg.inv(gauge) @ tensors[0][down]}
    assert_updates(LinearPath(make_point(tensors[0]), make_point(turned))(t), updates[0])


def test_points_and_path_are_named_after_the_ends(line):
    assert line.name == "old -> new"
    assert line(0.25).name == "old -> new at t=0.25"
    assert line(1).name == "new"


def test_a_name_can_be_given(line):
    assert LinearPath(line.start, line.end, name="merge")(0.5).name == "merge at t=0.5"
