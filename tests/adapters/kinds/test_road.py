"""RoAd: outputs that are rotated in pairs, and what a file may hold."""

import math

import pytest
import torch
from kind_points import Base, fails, kind_point, random

WEIGHT, BIAS = random(8, 5), random(8, seed=1)
BASE = Base({"q.weight": WEIGHT, "q.bias": BIAS})
TENSORS = {"q.road_theta": random(4, seed=2), "q.road_alpha": torch.ones(4)}


def test_pairs_of_outputs_are_rotated_with_the_bias():
    point = kind_point("ROAD", TENSORS, group_size=4).on(BASE)
    for name, value in (("q.weight", WEIGHT), ("q.bias", BIAS)):
        moved = value + point.updates[name].dense()
        # The first group holds outputs 0 to 3, with 0 and 2 a pair.
        angle = float(TENSORS["q.road_theta"][0])
        torch.testing.assert_close(moved[0], math.cos(angle) * value[0] - math.sin(angle) * value[2])
        torch.testing.assert_close(moved[2], math.cos(angle) * value[2] + math.sin(angle) * value[0])


def test_rotations_keep_the_length_of_the_outputs():
    point = kind_point("ROAD", TENSORS, group_size=8).on(BASE)
    moved = WEIGHT + point.updates["q.weight"].dense()
    torch.testing.assert_close(moved.norm(dim=0), WEIGHT.norm(dim=0))


def test_a_bias_that_is_not_there_is_left_out():
    assert list(kind_point("ROAD", TENSORS, group_size=4).on(Base({"q.weight": WEIGHT})).updates) == ["q.weight"]


def test_no_angle_and_a_length_of_1_change_nothing():
    assert kind_point("ROAD", TENSORS | {"q.road_theta": torch.zeros(4)}, group_size=4).is_zero
    assert not kind_point("ROAD", TENSORS, group_size=4).is_zero


@pytest.mark.parametrize(
    ("changed", "settings", "told"),
    [
        ({}, {"group_size": 16}, "n a multiple of 8 as road_1"),
        ({}, {"group_size": 4, "variant": "road_4"}, "n a multiple of 8 as road_4"),
        ({}, {"group_size": 3}, "an even group_size of 3"),
        ({"q.road_alpha": torch.ones(2)}, {"group_size": 4}, "road_alpha [n]"),
    ],
)
def test_shapes_that_do_not_fit(changed, settings, told):
    fails("ROAD", TENSORS | changed, "the tensors of q in the adapter do not fit together", told, **settings)


@pytest.mark.parametrize("variant", ["road_3", ["road_1"], {"q": "road_1"}])
def test_an_unknown_variant(variant):
    fails("ROAD", TENSORS, "settings that cannot be read", f"variant={variant!r}", variant=variant)
