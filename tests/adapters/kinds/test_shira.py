"""SHiRA: entries at fixed places, and what a file may hold."""

import json

import peft
import pytest
import torch
from kind_points import PREFIX, Base, fails, kind_point, random
from safetensors.torch import load_file, save_file

import modeconn as mc
from modeconn.errors import AdapterError
from modeconn.evaluation.directions import random_step
from modeconn.paths import LinearPath

PLACES = torch.tensor([[0, 3, 1], [5, 0, 2]], dtype=torch.int32)
TENSORS = {"q.shira_weight": random(3), "q.shira_indices": PLACES}
BASE = Base({"q.weight": random(4, 6, seed=1)})


def test_the_entries_are_at_their_places():
    found = kind_point("SHIRA", TENSORS, r=1).on(BASE).updates["q.weight"].dense()
    assert int((found != 0).sum()) == 3
    torch.testing.assert_close(found[PLACES[0].long(), PLACES[1].long()], TENSORS["q.shira_weight"])


def test_places_are_whole_numbers_in_a_file_that_was_saved(kinds, tmp_path):
    folder = kinds("llama", peft.ShiraConfig, 1, target_modules=["q_proj"], r=2, random_seed=5)
    saved = mc.Adapter.from_pretrained(folder).save_pretrained(tmp_path / "saved")
    before, after = (load_file(one / "adapter_model.safetensors") for one in (folder, saved))
    assert {name: value.dtype for name, value in before.items()} == {name: value.dtype for name, value in after.items()}


def test_places_may_come_as_floats(kinds, tmp_path):
    """PEFT writes them so on Windows."""
    folder = kinds("llama", peft.ShiraConfig, 1, target_modules=["q_proj"], r=2, random_seed=5)
    tensors = {name: value.float() for name, value in load_file(folder / "adapter_model.safetensors").items()}
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text((folder / "adapter_config.json").read_text())
    point, same = mc.Adapter.from_pretrained(tmp_path), mc.Adapter.from_pretrained(folder)
    assert point.fingerprint == same.fingerprint


def test_points_with_other_places_are_joined_in_weights_only():
    other = {**TENSORS, "q.shira_indices": PLACES.flip(1)}
    ends = [kind_point("SHIRA", tensors, r=1) for tensors in (TENSORS, other)]
    assert len(LinearPath(*ends)(0.5).updates["q.weight"].parts) == 2
    with pytest.raises(AdapterError, match=r'(?s)different layouts.*shira_indices, with other numbers.*"weights"'):
        LinearPath(*ends, space="factors")


def test_a_point_of_a_line_in_factors_has_the_places_of_its_ends():
    ends = [kind_point("SHIRA", {**TENSORS, "q.shira_weight": random(3, seed=seed)}, r=1) for seed in (0, 1)]
    point = LinearPath(*ends, space="factors")(0.3)
    assert torch.equal(point.tensors[f"{PREFIX}q.shira_indices"], PLACES)
    assert point.layout.num_parameters == len(point.vector) == 3


def test_a_base_that_is_too_small():
    told = r"(?s)does not fit the base.*places within a weight \[4, 5\].*rows up to 3 and columns up to 5"
    with pytest.raises(AdapterError, match=told):
        kind_point("SHIRA", TENSORS, r=1).on(Base({"q.weight": random(4, 5)}))


@pytest.mark.parametrize(
    "changed",
    [
        {"q.shira_indices": PLACES[:, :2]},
        {"q.shira_indices": -PLACES},
        {"q.shira_indices": PLACES.T},
        {"q.shira_weight": random(3, 1)},
    ],
)
def test_tensors_that_do_not_fit(changed):
    expected = "shira_weight [n] and shira_indices [2, n], none negative"
    fails("SHIRA", TENSORS | changed, "the tensors of q in the adapter do not fit together", expected, r=1)


def test_without_places_nothing_is_known():
    fails("SHIRA", {"q.shira_weight": random(3)}, "lacks a tensor", f"expected: {PREFIX}q.shira_indices", r=1)


def test_whole_numbers_elsewhere_are_refused(tmp_path):
    tensors = {PREFIX + "q.shira_indices": PLACES, PREFIX + "q.shira_weight": PLACES[0]}
    save_file({name: value.clone() for name, value in tensors.items()}, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "SHIRA", "r": 1}))
    with pytest.raises(AdapterError, match=r"(?s)values that are not weights.*got: \S+q.shira_weight \(torch.int32"):
        mc.Adapter.from_pretrained(tmp_path)


def test_a_random_step_leaves_the_places_alone():
    point = kind_point("SHIRA", TENSORS, r=1)
    moved = random_step(point, None, filters="factors", generator=torch.Generator().manual_seed(0))
    assert torch.equal(moved.tensors[f"{PREFIX}q.shira_indices"], PLACES)
    assert moved.layout == point.layout
