"""Points are added, subtracted and scaled as their dense weight updates are."""

import numpy as np
import pytest
import torch
from points import assert_updates, dense, dense_norm, dense_sum, make_point, make_tensors

from modeconn.adapters import combine
from modeconn.errors import AdapterError
from modeconn.paths import LinearPath

HEAD = {"classifier.weight": (3, 5), "classifier.bias": (3,)}
HEADED = {"modules_to_save": ["classifier"]}


@pytest.fixture
def tensors():
    """Tensors of two adapters of different ranks and modules."""
    other = make_tensors(2, rank=3, modules={"layers.1.v": (4, 5), "layers.1.o": (5, 4)})
    return make_tensors(1), other


@pytest.fixture
def points(tensors):
    """Two adapters of different ranks, modules and scalings (1.5 and 2/3)."""
    first = make_point(tensors[0], fields={"name": "first"})
    return first, make_point(tensors[1], fields={"name": "second"}, r=3, lora_alpha=2)


@pytest.fixture
def updates(tensors):
    return dense(tensors[0]), dense(tensors[1], scaling=2 / 3)


def headed(seed, **fields):
    return make_point(make_tensors(seed, heads=HEAD), fields=fields, **HEADED)


def test_a_sum_adds_the_updates(points, updates):
    assert_updates(points[0] + points[1], dense_sum((1, updates[0]), (1, updates[1])))


def test_a_difference_subtracts_them(points, updates):
    assert_updates(points[0] - points[1], dense_sum((1, updates[0]), (-1, updates[1])))


def test_a_number_scales_them_from_either_side(points, updates):
    assert_updates(points[0] * 3, dense_sum((3, updates[0])))
    assert_updates(3 * points[0], dense_sum((3, updates[0])))


def test_a_number_of_numpy_scales_as_a_float_does(points):
    assert (np.float64(0.5) * points[0]).fingerprint == (0.5 * points[0]).fingerprint


def test_a_step_along_a_difference_is_the_point_of_the_line(points):
    a, b = points
    step, point = a + 0.5 * (b - a), LinearPath(a, b)(0.5)
    assert sorted(step.updates) == sorted(point.updates)
    for name, update in step.updates.items():
        assert (update.coefficients, update.parts) == (point.updates[name].coefficients, point.updates[name].parts)


def test_the_rank_does_not_grow_with_the_number_of_steps(points):
    a, b = points
    walked = a
    for _ in range(5):
        walked = walked + 0.1 * (b - walked)
    assert walked.updates["layers.1.v.weight"].rank == 2 + 3


def test_a_point_minus_itself_is_zero(points):
    assert (points[0] - points[0]).is_zero
    assert (points[0] - points[0]).norm() == 0.0


def test_what_is_added_and_taken_away_again_leaves_the_file_as_it_was(points, tensors):
    again = points[0] + points[1] - points[1]
    saved = make_point(again.tensors, **again.config.raw)
    assert_updates(saved, dense(tensors[0]))


def test_a_step_of_zero_keeps_the_heads():
    a, b = headed(1), headed(2)
    step = a + 0.0 * (b - a)
    assert torch.equal(step.saved["classifier.weight"], a.saved["classifier.weight"])
    assert step.weight_sum == 1.0


def test_heads_are_combined_with_the_same_coefficients():
    a, b = headed(1), headed(2)
    expected = 0.25 * a.saved["classifier.bias"].double() + 0.75 * b.saved["classifier.bias"].double()
    found = combine([0.25, 0.75], [a, b]).saved["classifier.bias"].double()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_a_combination_that_is_one_point_is_that_object(points):
    assert combine([0.0, 1.0], list(points)) is points[1]


def test_the_inner_product_is_that_of_the_dense_updates(points, updates):
    shared = updates[0]["layers.1.v.weight"] * updates[1]["layers.1.v.weight"]
    assert points[0].inner(points[1]) == pytest.approx(float(shared.sum()), rel=1e-12)


def test_the_inner_product_takes_in_the_heads():
    a, b = headed(1), headed(2)
    updates = [dense(point.tensors) for point in (a, b)]
    expected = sum(float((updates[0][name] * updates[1][name]).sum()) for name in updates[0])
    expected += sum(float((a.saved[name].double() * b.saved[name].double()).sum()) for name in a.saved)
    assert a.inner(b) == pytest.approx(expected, rel=1e-12)


def test_the_norm_is_that_of_the_dense_updates(points, updates):
    difference = dense_sum((1, updates[0]), (-1, updates[1]))
    assert (points[0] - points[1]).norm() == pytest.approx(dense_norm(difference), rel=1e-12)


def test_sums_over_modules_have_one_order():
    modules = {f"layers.{number}.q": (3, 4) for number in range(200)}
    heads = {f"classifier.{number}.weight": (2, 2) for number in range(50)}
    saved = {"modules_to_save": ["classifier"]}
    first, second = (make_point(make_tensors(seed, modules=modules, heads=heads), **saved) for seed in (1, 2))
    updates = sum(first.updates[name].inner(second.updates[name]) for name in sorted(first.updates))
    products = {name: float((first.saved[name].double() * second.saved[name].double()).sum()) for name in first.saved}
    assert first.inner(second) == updates + sum(products[name] for name in sorted(products))  # to the last bit


def test_the_distance_of_near_points_survives_the_cancellation(tensors, points, updates):
    near = {name: value * (1 + 1e-3) for name, value in tensors[0].items()}
    expected = dense_norm(dense_sum((1, updates[0]), (-1, dense(near))))
    assert (points[0] - make_point(near)).norm() == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("shape", [(4, 7), (6, 5)])
def test_updates_of_different_shapes_are_refused(points, shape):
    other = make_point(make_tensors(3, modules={"layers.1.v": shape}), fields={"name": "third"})
    with pytest.raises(AdapterError, match=r"first and third cannot be combined(?s:.*)layers.1.v.weight \[4, 5\] and"):
        points[0] + other


def test_shapes_that_only_later_points_share_are_compared_too(points):
    clash = make_point(make_tensors(3, modules={"layers.1.o": (9, 9)}), fields={"name": "third"})
    with pytest.raises(AdapterError, match=r"second and third cannot be combined(?s:.*)\[5, 4\] and \[9, 9\]"):
        combine([0.4, 0.3, 0.3], [*points, clash])


def test_heads_of_different_shapes_are_refused():
    other = make_point(make_tensors(2, heads={"classifier.weight": (4, 5), "classifier.bias": (4,)}), **HEADED)
    with pytest.raises(AdapterError, match=r"got: classifier.bias \[3\] and \[4\], .*\n  remedy: train .* one head"):
        headed(1) - other


def test_a_head_in_one_point_only_is_refused(points):
    with pytest.raises(AdapterError, match=r"expected: .* the same saved modules\n  got: classifier.bias saved in one"):
        headed(1) + points[0]


def test_points_of_two_bases_are_refused():
    a, b = (
        make_point(make_tensors(1), fields={"name": name, "provenance": {"base_fingerprint": print_}})
        for name, print_ in (("first", "ab" * 32), ("second", "cd" * 32))
    )
    message = r"different base models(?s:.*)first of None \(abababababab\), second of(?s:.*)remedy: join checkpoints"
    with pytest.raises(AdapterError, match=message):
        a - b


def test_a_base_that_one_point_does_not_name_is_no_conflict(points):
    known = make_point(make_tensors(1), fields={"provenance": {"base_fingerprint": "ab" * 32}})
    assert (known + points[1]).provenance == {"base_fingerprint": "ab" * 32}
