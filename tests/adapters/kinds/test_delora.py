"""DeLoRA: directions of a bounded length, and what a file may hold."""

import pytest
import torch
from kind_points import PREFIX, fails, kind_point, random

TENSORS = {
    "q.delora_A": random(2, 6),
    "q.delora_B": random(4, 2, seed=1),
    "q.delora_lambda": torch.tensor([3.0]),
    "q.delora_w_norm": random(6, seed=2).abs(),
}


def test_the_update_is_a_sum_of_directions():
    found = kind_point("DELORA", TENSORS, r=2).updates["q.weight"].dense()
    expected = torch.zeros(4, 6)
    for a, b in zip(TENSORS["q.delora_A"], TENSORS["q.delora_B"].T, strict=True):
        expected += 3.0 / 2 * torch.outer(b / b.norm(), a / a.norm())
    torch.testing.assert_close(found, expected * TENSORS["q.delora_w_norm"])


def test_its_length_does_not_depend_on_that_of_the_factors():
    longer = TENSORS | {"q.delora_A": 7 * TENSORS["q.delora_A"], "q.delora_B": 0.1 * TENSORS["q.delora_B"]}
    found = [kind_point("DELORA", tensors, r=2).updates["q.weight"].dense() for tensors in (TENSORS, longer)]
    torch.testing.assert_close(*found)


def test_a_factor_of_zeros_changes_nothing():
    point = kind_point("DELORA", TENSORS | {"q.delora_B": torch.zeros(4, 2)}, r=2)
    assert point.is_zero
    assert not point.updates["q.weight"].dense().any()


@pytest.mark.parametrize("name", TENSORS)
def test_a_missing_tensor(name):
    rest = {key: value for key, value in TENSORS.items() if key != name}
    told = ("would not be used", "q.delora_B") if name == "q.delora_A" else ("lacks a tensor", f"{PREFIX}{name}")
    fails("DELORA", rest, *told, r=2)


@pytest.mark.parametrize(
    "changed",
    [
        {"q.delora_A": random(3, 6)},
        {"q.delora_B": random(4, 3)},
        {"q.delora_lambda": random(2)},
        {"q.delora_w_norm": random(4)},
    ],
)
def test_shapes_that_do_not_fit(changed):
    ((name, value),) = changed.items()
    told = "with r = 2", f"{name.removeprefix('q.')} {list(value.shape)}"
    fails("DELORA", TENSORS | changed, "the tensors of q in the adapter do not fit together", *told, r=2)


def test_an_unknown_setting():
    fails("DELORA", TENSORS, "weight update is not known", "settings of DELORA", "alpha=3", r=2, alpha=3)
