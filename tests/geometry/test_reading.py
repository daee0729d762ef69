"""The sentences hold the numbers of the tables."""

import pytest
import torch
from kind_points import Base, random
from points import PREFIX, make_point, make_tensors

from modeconn.geometry.measure import measure_geometry
from modeconn.geometry.reading import reading

SQUARE = {"layers.0.q": (8, 8), "layers.1.q": (8, 8)}


def point(name, seed=0, **arguments):
    return make_point(make_tensors(seed, modules=SQUARE), fields={"name": name}, **arguments)


def told(points, start, **settings):
    (found,) = [one for one in reading(measure_geometry(points, **settings)) if one.startswith(start)]
    return found


def test_a_point_is_told_with_its_size_and_ranks():
    norm = point("old").norm()
    assert f"old changes 2 matrices by {norm:.3g} in all." in told([point("old")], "old changes")
    assert "of 2 directions count (effective rank; stable rank 1." in told([point("old")], "old changes")


def test_the_largest_place_is_named():
    tensors = make_tensors(0, modules=SQUARE)
    tensors[f"{PREFIX}layers.1.q.lora_B.weight"] *= 100
    found = told([make_point(tensors, fields={"name": "old"})], "old changes")
    assert found.endswith("Most of its square lies in layer 1 (100 %; an even share is 50 %).")


def test_layers_of_one_number_in_two_stacks_are_not_added_up():
    modules = {f"{stack}.block.{layer}.q": (8, 8) for stack in ("encoder", "decoder") for layer in range(2)}
    tensors = make_tensors(0, modules=modules)
    for name in ("encoder.block.0", "decoder.block.0"):
        tensors[f"{PREFIX}{name}.q.lora_B.weight"] *= 3
    tensors[f"{PREFIX}encoder.block.1.q.lora_B.weight"] *= 10
    found = told([make_point(tensors, fields={"name": "old"})], "old changes")
    assert "and in encoder.block.1 (" in found
    assert found.endswith("; an even share is 25 %).")


def test_what_needs_a_base_is_told_with_one():
    weights = {f"{name}.weight": torch.eye(8) * 50 + random(8, 8, seed=7) for name in SQUARE}
    plain, held = (told([point("old")], "old changes", base=Base(weights), principal=count) for count in (0, 4))
    share = measure_geometry([point("old")], base=Base(weights)).points["relative_norm"][0]
    assert f"in all, {100 * share:.2g} % of the base's weights there" in plain
    assert "singular directions" not in plain
    assert held.count("(by chance 50 %)") == 2
    assert "of the 16 largest directions of its changed weights are intruders" in held


def test_a_pair_is_told_beside_chance():
    found = told([point("old"), point("new")], "old and new")
    assert "cosine 1.000, 100 % of the entries have one sign" in found
    assert "column spaces overlap by 1.000 (4 times chance, 0.250)" in found
    assert "100 % of the square of new acts on the inputs that old reads, 100 % on the outputs" in found


def test_points_without_a_common_module():
    first = make_point(make_tensors(0, modules={"layers.0.q": (8, 8)}), fields={"name": "old"})
    second = make_point(make_tensors(0, modules={"layers.1.q": (8, 8)}), fields={"name": "new"})
    assert told([first, second], "old and new") == "old and new change no matrix in common."


@pytest.mark.parametrize(("start", "count"), [("1 more points", 1), ("15 more pairs", 1)])
def test_of_many_only_the_largest_are_told(start, count):
    points = [point(f"p{seed}", seed) for seed in range(7)]
    assert len([one for one in reading(measure_geometry(points)) if one.startswith(start)]) == count
