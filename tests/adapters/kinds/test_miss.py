"""MiSS, and Bone as it was called before: what a file may hold, and what it says without PEFT."""

import json

import peft
import pytest
import torch
from kind_oracle import assert_logits
from kind_points import Base, fails, kind_point, random
from safetensors.torch import load_file, save_file

import modeconn as mc
from modeconn.adapters.kinds.miss import from_bone
from modeconn.errors import AdapterError

BLOCK = random(3, 4)
WEIGHT = random(4, 8, seed=1)
BASE = Base({"q.weight": WEIGHT})


def test_the_block_is_repeated_along_the_inputs_and_cut_off():
    found = kind_point("MISS", {"q.miss_block": BLOCK}, r=3).within(BASE).updates["q.weight"]
    assert found.low_rank
    torch.testing.assert_close(found.dense(), torch.cat([BLOCK.T, BLOCK.T, BLOCK.T[:, :2]], dim=1))


def test_a_small_block_is_repeated_along_the_outputs_too():
    settings = {"r": 3, "mini_r": 2, "init_weights": "mini"}
    found = kind_point("MISS", {"q.miss_block": BLOCK[:, :2]}, **settings).within(BASE).updates["q.weight"].dense()
    torch.testing.assert_close(found[:2], found[2:])
    torch.testing.assert_close(found[:2, :3], BLOCK.T[:2])


def test_blocks_follow_the_weight():
    blocks = random(2, 2, 2)
    point = kind_point("MISS", {"q.miss_block": blocks}, r=2, init_weights="bat")
    found = point.on(BASE).updates["q.weight"].dense()
    for row, column in ((0, 0), (0, 3), (1, 2)):
        place = slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2)
        torch.testing.assert_close(found[place], WEIGHT[place] @ blocks[row] + blocks[row])


@pytest.mark.parametrize(
    ("settings", "block", "expected"),
    [
        ({"r": 3}, random(4, 4), "[r, out] with r = 3"),
        ({"r": 3}, random(4), "[r, out] with r = 3"),
        ({"r": 2, "init_weights": "bat"}, random(2, 4), "[out / r, r, r] with r = 2"),
        ({"r": 2, "init_weights": "bat"}, random(2, 2, 3), "[out / r, r, r] with r = 2"),
        ({"r": 3, "init_weights": "mini", "mini_r": 2}, random(3, 4), "[r, mini_r] with mini_r = 2 and r = 3"),
    ],
)
def test_blocks_that_do_not_fit(settings, block, expected):
    told = f"miss_block {expected}", f"miss_block {list(block.shape)}"
    fails("MISS", {"q.miss_block": block}, "the tensors of q in the adapter do not fit", *told, **settings)


@pytest.mark.parametrize(
    ("settings", "block", "weight", "expected"),
    [
        ({"r": 3, "init_weights": "mini", "mini_r": 3}, random(3, 3), (4, 8), "outputs that 3 divides"),
        ({"r": 9}, random(9, 4), (4, 8), "at least 9 inputs"),
        ({"r": 2, "init_weights": "bat"}, random(2, 2, 2), (4, 7), "inputs that 2 divides"),
    ],
)
def test_a_base_that_does_not_fit(settings, block, weight, expected):
    point = kind_point("MISS", {"q.miss_block": block}, **settings)
    with pytest.raises(AdapterError, match=rf"(?s)does not fit the base model.*{expected}.*{list(weight)[1]}\]"):
        point.on(Base({"q.weight": random(*weight)}))


def test_a_matrix_is_wanted():
    point = kind_point("MISS", {"q.miss_block": BLOCK}, r=3)
    with pytest.raises(AdapterError, match=r"(?s)changes q.weight as a matrix.*a weight \[4, 8, 3, 3\].*convolutions"):
        point.on(Base({"q.weight": random(4, 8, 3, 3)}))


@pytest.mark.parametrize("form", [True, "bat"])
def test_a_bone_adapter_is_the_miss_adapter_that_peft_made_of_it(form, bases, kinds, tmp_path):
    """The tensors of Bone have other names, and PEFT knows them no more."""
    miss = kinds("llama", peft.MissConfig, 1, target_modules=["q_proj"], r=4, init_weights=form)
    tensors = load_file(miss / "adapter_model.safetensors")
    old = {name.replace("miss_block", "bone_block"): value for name, value in tensors.items()}
    raw = json.loads((miss / "adapter_config.json").read_text()) | {"peft_type": "BONE"}
    bone = tmp_path / "bone"
    bone.mkdir()
    written = {key: value for key, value in raw.items() if key not in ("mini_r", "miss_dropout", "peft_version")}
    (bone / "adapter_config.json").write_text(json.dumps(written))
    save_file(old, bone / "adapter_model.safetensors")
    point = mc.Adapter.from_pretrained(bone)
    assert point.fingerprint == mc.Adapter.from_pretrained(miss).fingerprint
    assert point.config.kind.name == "MISS"
    assert_logits("llama", bases("llama"), point.save_pretrained(tmp_path / "saved"), "float64", 1e-9)
    ends = [point, mc.Adapter.from_pretrained(bone, name="again")]
    assert mc.LinearPath(*ends)(0.5).updates.keys() == point.updates.keys()


def test_other_tensors_of_bone_keep_their_names():
    tensors = {"base_model.model.classifier.weight": random(2, 2), "base_model.model.q.bone_block": BLOCK}
    assert sorted(from_bone({"peft_type": "BONE"}, tensors)[1]) == [
        "base_model.model.classifier.weight",
        "base_model.model.q.miss_block",
    ]


@pytest.mark.parametrize(("key", "value"), [("r", 0), ("mini_r", 0), ("init_weights", "other")])
def test_a_setting_of_the_wrong_kind(key, value):
    settings = {"r": 3, key: value}
    fails("MISS", {"q.miss_block": BLOCK}, "settings that cannot be read", f"{key}={value!r}", **settings)
