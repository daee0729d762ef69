"""LoRA adapters as PEFT 0.2 to 0.21 wrote them: keys that were missing or are gone, and older names of tensors."""

import json

import pytest
import torch
from kind_oracle import loaded_by_peft
from old_settings import keys_of, versions_of
from peft_oracle import logits
from points import PREFIX, assert_updates, dense, make_point, make_tensors
from safetensors.torch import load_file, save_file

import modeconn as mc
from modeconn.adapters.config import AdapterConfig
from modeconn.errors import AdapterError

OWN = {
    "base_model_name_or_path": "owner/base",
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "inference_mode": True,
    "r": 2,
    "lora_alpha": 3,
    "lora_dropout": 0.05,
    "target_modules": ["q", "v"],
}
FIRST = {"merge_weights": False, "enable_lora": None}  # what 0.2 wrote, and no other version
WRITERS = ["0.2", *versions_of("LORA")]


def written_by(version):
    """The keys and values of a version's file."""
    return {**FIRST, **OWN} if version == "0.2" else {**keys_of("LORA", version), **OWN}


@pytest.mark.parametrize("version", WRITERS)
def test_an_adapter_of_any_version_is_read(version, tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps(written_by(version)))
    save_file(make_tensors(0), tmp_path / "adapter_model.safetensors")
    assert_updates(mc.Adapter.from_pretrained(tmp_path), dense(make_tensors(0)))


@pytest.mark.parametrize("version", ["0.2", "0.10", "0.21"])
def test_a_config_that_was_cut_down_by_hand(version):
    raw = {key: value for key, value in written_by(version).items() if key in ("peft_type", "r", "lora_alpha")}
    point = mc.Adapter.from_tensors(make_tensors(0), AdapterConfig.parse(raw, "the adapter"))
    assert_updates(point, dense(make_tensors(0)))


@pytest.mark.parametrize("named", [["q"], "q|v", r".*\.(q|v)", "all-linear", None, []])
def test_any_form_of_target_modules(named):
    assert_updates(make_point(make_tensors(0), target_modules=named), dense(make_tensors(0)))


@pytest.mark.parametrize("layers", [0, [0, 1], None])
def test_any_form_of_layers(layers):
    settings = {"layers_to_transform": layers, "layers_pattern": "layers"}
    assert_updates(make_point(make_tensors(0), **settings), dense(make_tensors(0)))


def with_adapter_name(tensors):
    """Names as a state dict has them that was saved by hand."""
    return {
        name.replace(".weight", ".default.weight") if "lora_" in name else name: value
        for name, value in tensors.items()
    }


def test_names_that_hold_the_adapters_name(adapters, bases, tmp_path):
    source = adapters("llama", 1)
    tensors = with_adapter_name(load_file(source / "adapter_model.safetensors"))
    assert all(".default." in name for name in tensors)
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text((source / "adapter_config.json").read_text())
    point = mc.Adapter.from_pretrained(tmp_path)
    assert point.fingerprint == mc.Adapter.from_pretrained(source).fingerprint
    expected = logits(loaded_by_peft("llama", bases("llama"), source))
    saved = point.save_pretrained(tmp_path / "saved")
    for folder in (tmp_path, saved):
        assert torch.equal(logits(loaded_by_peft("llama", bases("llama"), folder)), expected)


def test_one_tensor_under_two_names():
    tensors = make_tensors(0) | with_adapter_name(make_tensors(1))
    with pytest.raises(AdapterError, match=r"(?s)would not be used.*layers.0.q.lora_A.default.weight"):
        make_point(tensors)


def test_the_name_of_another_adapter_is_left_over():
    tensors = {name.replace(".weight", ".mine.weight"): value for name, value in make_tensors(0).items()}
    with pytest.raises(AdapterError, match=rf"(?s)would not be used.*{PREFIX}layers.0.q.lora_A.mine.weight"):
        make_point(tensors)
