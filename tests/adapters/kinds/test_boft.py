"""BOFT: products of sparse rotations, and what a file may hold."""

import peft
import peft.tuners.boft.layer as boft_layer
import pytest
import torch
from kind_oracle import assert_logits, assert_same, changes, load, made
from kind_points import PREFIX, Base, fails, kind_point, random

import modeconn as mc

TENSORS = {"q.boft_R": 0.4 * random(2, 4, 2, 2), "q.boft_s": 1 + 0.3 * random(5, 1)}
WEIGHT = random(5, 8, seed=1)


class BlockDiagonal:
    """What PEFT compiles for a GPU, without which it knows products of one factor only."""

    @staticmethod
    def forward(blocks):
        """[N, n, b, b] -> a list of [N, n b, n b]."""
        return [torch.stack([torch.block_diag(*one) for one in blocks])]


@pytest.fixture
def kernel(monkeypatch):
    monkeypatch.setattr(boft_layer, "_FBD_CUDA", BlockDiagonal)


@pytest.mark.parametrize("settings", [{"boft_block_size": 2}, {"boft_block_size": 0, "boft_block_num": 8}])
@pytest.mark.parametrize("factors", [2, 3])
@pytest.mark.usefixtures("kernel")
def test_products_of_several_rotations_are_those_of_peft(factors, settings, bases, kinds):
    settings = {"target_modules": ["q_proj", "down_proj"], "boft_n_butterfly_factor": factors, **settings}
    folder = kinds("llama", peft.BOFTConfig, 1, **settings)
    assert_logits("llama", bases("llama"), folder, "float64", 1e-9)
    point = mc.Adapter.from_pretrained(folder)
    assert_same(made(point, load("llama", bases("llama"), point)), changes("llama", bases("llama"), folder))


def test_rotations_keep_the_lengths_and_angles_of_rows():
    plain = {"q.boft_R": TENSORS["q.boft_R"], "q.boft_s": torch.ones(5, 1)}
    change = kind_point("BOFT", plain).on(Base({"q.weight": WEIGHT})).updates["q.weight"].dense()
    torch.testing.assert_close((WEIGHT + change) @ (WEIGHT + change).T, WEIGHT @ WEIGHT.T, atol=1e-5, rtol=1e-5)
    assert change.norm() > 0.1 * WEIGHT.norm()


def test_outputs_are_scaled_after_the_rotation():
    base = Base({"q.weight": WEIGHT})
    plain, scaled = (
        WEIGHT + kind_point("BOFT", {**TENSORS, "q.boft_s": scales}).on(base).updates["q.weight"].dense()
        for scales in (torch.ones(5, 1), TENSORS["q.boft_s"])
    )
    torch.testing.assert_close(scaled, TENSORS["q.boft_s"] * plain)


def test_symmetric_blocks_change_nothing():
    blocks = TENSORS["q.boft_R"] + TENSORS["q.boft_R"].mT
    assert kind_point("BOFT", {"q.boft_R": blocks, "q.boft_s": torch.ones(5, 1)}).is_zero
    assert not kind_point("BOFT", {"q.boft_R": blocks, "q.boft_s": TENSORS["q.boft_s"]}).is_zero


@pytest.mark.parametrize("name", TENSORS)
def test_a_missing_tensor(name):
    rest = {key: value for key, value in TENSORS.items() if key != name}
    told = ("would not be used", "q.boft_s") if name == "q.boft_R" else ("lacks a tensor", f"expected: {PREFIX}{name}")
    fails("BOFT", rest, *told)


@pytest.mark.parametrize(
    "changed",
    [
        {"q.boft_R": random(2, 4, 2)},
        {"q.boft_R": random(2, 4, 2, 3)},
        {"q.boft_R": random(2, 4, 3, 3)},
        {"q.boft_R": random(2, 3, 2, 2)},
        {"q.boft_R": random(3, 2, 2, 2)},
        {"q.boft_s": random(5)},
        {"q.boft_s": random(5, 2)},
    ],
)
def test_shapes_that_do_not_fit(changed):
    ((name, value),) = changed.items()
    told = "boft_R [N, n, b, b] and boft_s [out, 1]", f"{name.removeprefix('q.')} {list(value.shape)}"
    fails("BOFT", TENSORS | changed, "the tensors of q in the adapter do not fit together", *told)


def test_an_unknown_setting():
    fails("BOFT", TENSORS, "weight update is not known", "settings of BOFT", "fast=True", fast=True)
