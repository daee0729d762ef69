"""Paths that cannot be built or sampled as asked: the message says why and what to do instead."""

import math
import re

import pytest
import torch
from points import make_point, make_tensors

from modeconn.errors import AdapterError, PathError
from modeconn.paths import LinearPath


def point(seed, name, **settings):
    return make_point(make_tensors(seed, rank=settings.get("r", 2)), fields={"name": name}, **settings)


def refused(error, *parts):
    """An error whose message holds these parts in this order."""
    return pytest.raises(error, match="(?s)" + ".*".join(map(re.escape, parts)))


@pytest.fixture
def ends():
    return point(1, "old"), point(2, "new")


@pytest.mark.parametrize("space", ["weights", "factors"])
@pytest.mark.parametrize("t", [-0.1, 1.0001, math.nan, math.inf])
def test_a_position_off_the_path(ends, space, t):
    line = LinearPath(*ends, space=space)
    with refused(
        PathError, "outside of the path 'old -> new'", "0 <= t <= 1", f"got: t from {t:g}", "choose t between"
    ):
        line(t)


def test_positions_of_which_one_is_off_the_path(ends):
    line = LinearPath(*ends, space="factors")
    with refused(PathError, "outside of the path", "got: t from 0 to 1.5"):
        line(torch.tensor([0.0, 0.5, 1.5]))


def test_a_tensor_of_positions_in_weights_space(ends):
    line = LinearPath(*ends)
    with refused(PathError, "no matrix of points", "space='factors'", "got: a tensor of 3 positions", "path(float(t))"):
        line(torch.tensor([0.0, 0.5, 1.0]))


def test_an_unknown_space(ends):
    with refused(PathError, "unknown space 'updates'", "expected: weights or factors", 'remedy: use space="weights"'):
        LinearPath(*ends, space="updates")


def test_ends_of_different_ranks_in_factors_space(ends):
    parts = "wide and the first point have different layouts", "lora_A.weight [3, 5] instead of [2, 5]", "remedy: join"
    with refused(AdapterError, *parts, 'in space="weights"'):
        LinearPath(ends[0], point(2, "wide", r=3, lora_alpha=3), space="factors")


def test_ends_of_different_modules_in_factors_space(ends):
    other = make_point(make_tensors(2, modules={"layers.0.q": (6, 5), "layers.1.o": (4, 5)}), fields={"name": "other"})
    parts = "layers.1.o.lora_A.weight unexpected", "layers.1.v.lora_A.weight missing", 'in space="weights"'
    with refused(AdapterError, "other and the first point", *parts):
        LinearPath(ends[0], other, space="factors")


def test_ends_that_scale_differently_in_factors_space(ends):
    parts = "old and loud scale their factors differently", "the same lora_alpha", "scalings in layers.0.q, layers.1.v"
    with refused(PathError, *parts, 'remedy: join them in space="weights"'):
        LinearPath(ends[0], point(2, "loud", lora_alpha=4), space="factors")


def test_one_module_that_scales_differently_is_named_alone(ends):
    with refused(PathError, "scale their factors differently", "got: different scalings in layers.1.v\n"):
        LinearPath(ends[0], point(2, "loud", alpha_pattern={"v": 4}), space="factors")


def test_a_combination_whose_tensors_have_another_scaling_than_its_parts(ends):
    combination = 0.5 * point(3, "a", r=1) + 0.5 * point(4, "b", r=1)  # parts of scaling 3, tensors of scaling 1
    assert combination.layout == ends[0].layout
    with refused(PathError, "scale their factors differently", "different scalings in layers.0.q, layers.1.v"):
        LinearPath(combination, point(2, "loud", lora_alpha=6), space="factors")


@pytest.mark.parametrize("space", ["weights", "factors"])
def test_ends_of_different_bases(space):
    old, new = (
        make_point(make_tensors(seed), fields={"name": name, "provenance": {"base_fingerprint": 64 * mark}})
        for seed, name, mark in ((1, "old", "a"), (2, "new", "b"))
    )
    parts = "different base models", "one base model", "new of None (bbbbbbbbbbbb), old of", "from the same base"
    with refused(AdapterError, *parts):
        LinearPath(old, new, space=space)


@pytest.mark.parametrize("space", ["weights", "factors"])
def test_ends_with_heads_of_different_shapes(space):
    old, new = (
        make_point(
            make_tensors(1, heads={"score.weight": (classes, 5)}), fields={"name": name}, modules_to_save=["score"]
        )
        for name, classes in (("old", 3), ("new", 4))
    )
    parts = "old and new cannot be combined", "score.weight [3, 5] and [4, 5]", "one head over the union of the labels"
    with refused(AdapterError, *parts):
        LinearPath(old, new, space=space)
