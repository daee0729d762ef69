"""BOFT: products of sparse rotations, and what a file may hold."""

import peft
import peft.tuners.boft.layer as boft_layer
import pytest
import torch
from kind_oracle import assert_logits, assert_same, changes, load, loaded_by_peft, made
from kind_points import PREFIX, Base, fails, kind_point, random
from peft_oracle import logits
from random_tasks import random_task

import modeconn as mc
from modeconn.errors import ModelError

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


def test_the_gate_says_why_peft_cannot_load_several_rotations(bases, kinds, monkeypatch):
    """Without its kernel PEFT makes one factor of them, whatever the settings say."""
    settings = {"target_modules": ["q_proj"], "boft_n_butterfly_factor": 2, "boft_block_size": 2}
    with monkeypatch.context() as patched:
        patched.setattr(boft_layer, "_FBD_CUDA", BlockDiagonal)
        folders = [kinds("llama", peft.BOFTConfig, seed, **settings) for seed in (1, 2)]
    monkeypatch.setattr(boft_layer, "get_fbd_cuda", lambda: None)  # as on a machine without a compiler for GPUs
    ends = [mc.Adapter.from_pretrained(folder) for folder in folders]
    model = load("llama", bases("llama"), *ends, dtype="float32")
    told = r"(?s)PEFT cannot load BOFTConfig-1 on this machine\n.*got: 2 butterfly factors, .*remedy: .*check=False"
    with pytest.raises(ModelError, match=told):
        mc.evaluate_path(mc.LinearPath(*ends), model, [random_task()], num_points=2)
    profile = mc.evaluate_path(mc.LinearPath(*ends), model, [random_task()], num_points=2, check=False)
    assert profile.frame["loss"].nunique() == 2


def test_one_rotation_of_settings_that_asked_for_several(bases, kinds, monkeypatch):
    """As PEFT trains it without its kernel: the file holds one factor, and is what it loads again."""
    monkeypatch.setattr(boft_layer, "get_fbd_cuda", lambda: None)
    settings = {"target_modules": ["v_proj"], "boft_n_butterfly_factor": 2}
    folder = kinds("llama", peft.BOFTConfig, 1, **settings)
    point = mc.Adapter.from_pretrained(folder)
    assert point.config.raw["boft_n_butterfly_factor"] == 2
    assert_logits("llama", bases("llama"), folder, "float64", 1e-9)
    with load("llama", bases("llama"), point).reference(point) as module:
        assert torch.equal(logits(module), logits(loaded_by_peft("llama", bases("llama"), folder)))


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
