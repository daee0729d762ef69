"""C3A: circulant blocks, what PEFT makes of them in float32, and what a file may hold."""

import peft
import pytest
import torch
from kind_oracle import (
    assert_average_of_factors,
    assert_gate,
    assert_logits,
    assert_round_trip,
    assert_same,
    changes,
    load,
    made,
)
from kind_points import fails, kind_point, random

import modeconn as mc

KERNELS = {"q.c3a_kernel": random(2, 3, 4)}
SETTINGS = {"target_modules": ["q_proj", "down_proj"], "block_size": 8, "block_size_pattern": {"down_proj": 4}}


@pytest.fixture
def ends(bases, kinds):
    """The base, and two adapters of it."""
    folders = [kinds("llama", peft.C3AConfig, seed, std=3.0, **SETTINGS) for seed in (1, 2)]
    return bases("llama"), tuple(folders)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-6), ("float32", 2e-5), ("bfloat16", 0.015)])
def test_logits_are_those_of_peft(dtype, tolerance, ends):
    """PEFT computes in float32, whatever the model's dtype."""
    base, folders = ends
    assert_logits("llama", base, folders[0], dtype, tolerance)


def test_a_line_is_the_line_between_merged_weights(ends):
    base, folders = ends
    points = [mc.Adapter.from_pretrained(folder) for folder in folders]
    first, second = (changes("llama", base, folder) for folder in folders)
    expected = {name: 0.7 * first[name] + 0.3 * second[name] for name in first}
    assert_same(made(mc.LinearPath(*points)(0.3), load("llama", base, *points)), expected)


def test_the_midpoint_of_factors_is_what_peft_makes_of_the_averaged_tensors(ends, tmp_path):
    assert_average_of_factors("llama", *ends, tmp_path / "average")


@pytest.mark.parametrize("space", ["weights", "factors"])
def test_a_path_is_evaluated_and_its_ends_agree_with_peft(space, ends):
    assert_gate("llama", *ends, space=space)


def test_logits_are_bit_equal_after_saving(ends, tmp_path):
    assert_round_trip("llama", ends[0], ends[1][0], tmp_path / "saved")


def test_each_row_of_a_block_is_the_one_above_moved_on():
    found = kind_point("C3A", KERNELS, block_size=4).updates["q.weight"].dense()
    assert found.shape == (8, 12)
    kernel = KERNELS["q.c3a_kernel"][1, 2]
    for row in range(4):
        torch.testing.assert_close(found[4 + row, 8:], kernel.roll(row) / 12)


def test_kernels_of_zeros_change_nothing():
    assert kind_point("C3A", {"q.c3a_kernel": torch.zeros(2, 3, 4)}, block_size=4).is_zero


@pytest.mark.parametrize("kernels", [random(2, 3, 5), random(2, 12)])
def test_shapes_that_do_not_fit(kernels):
    told = "c3a_kernel [out / b, in / b, b] with b = 4", f"c3a_kernel {list(kernels.shape)}"
    fails("C3A", {"q.c3a_kernel": kernels}, "do not fit together", *told, block_size=4)


def test_an_unknown_setting():
    fails("C3A", KERNELS, "weight update is not known", "settings of C3A", "alpha=3", block_size=4, alpha=3)
