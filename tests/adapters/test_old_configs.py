"""Adapters as PEFT 0.2 to 0.21 wrote them: keys that were missing, keys that are gone, and older names of tensors."""

import json

import pytest
import torch
from kind_oracle import loaded_by_peft
from peft_oracle import logits
from points import PREFIX, assert_updates, dense, make_point, make_tensors
from safetensors.torch import load_file, save_file

import modeconn as mc
from modeconn.adapters.config import AdapterConfig
from modeconn.errors import AdapterError

BASE = {
    "base_model_name_or_path": "owner/base",
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "inference_mode": True,
    "r": 2,
    "lora_alpha": 3,
    "lora_dropout": 0.05,
    "target_modules": ["q", "v"],
    "bias": "none",
    "fan_in_fan_out": False,
    "modules_to_save": None,
}
# What each version of PEFT began to write into adapter_config.json.
ADDED = {
    "0.2": {"merge_weights": False, "enable_lora": None},
    "0.3": {"init_lora_weights": True},
    "0.4": {"auto_mapping": None, "revision": None, "layers_to_transform": None, "layers_pattern": None},
    "0.6": {"rank_pattern": {}, "alpha_pattern": {}},
    "0.7": {"loftq_config": {}, "megatron_config": None, "megatron_core": "megatron.core"},
    "0.8": {"use_rslora": False},
    "0.9": {"use_dora": False},
    "0.10": {"layer_replication": None},
    "0.14": {"eva_config": None, "exclude_modules": None, "lora_bias": False},
    "0.15": {"corda_config": None, "trainable_token_indices": None},
    "0.17": {"target_parameters": None, "qalora_group_size": 16, "use_qalora": False},
    "0.18": {
        "alora_invocation_tokens": None,
        "arrow_config": None,
        "ensure_weight_tying": False,
        "peft_version": "0.18.0",
    },
    "0.19": {"lora_ga_config": None, "use_bdlora": None},
    "0.21": {"kasa_config": None, "monteclora_config": None, "velora_config": None},
}
GONE = {"merge_weights": "0.3", "enable_lora": "0.3"}
VERSIONS = list(ADDED)


def written_by(version):
    """The keys and defaults of a version."""
    number = VERSIONS.index(version)
    raw = dict(BASE)
    for one in VERSIONS[: number + 1]:
        raw |= ADDED[one]
    return {key: value for key, value in raw.items() if key not in GONE or number < VERSIONS.index(GONE[key])}


@pytest.mark.parametrize("version", VERSIONS)
def test_an_adapter_of_any_version_is_read(version, tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps(written_by(version)))
    save_file(make_tensors(0), tmp_path / "adapter_model.safetensors")
    assert_updates(mc.Adapter.from_pretrained(tmp_path), dense(make_tensors(0)))


def test_the_last_version_is_the_one_at_hand(adapters):
    """The table has every key that PEFT writes today, with its default."""
    raw = dict(mc.Adapter.from_pretrained(adapters("llama", 1)).config.raw)
    table = written_by(VERSIONS[-1])
    assert sorted(raw) == sorted(table)
    own = ("base_model_name_or_path", "init_lora_weights", "peft_version", "r", "lora_alpha", "lora_dropout")
    assert {key: table[key] for key in table if key not in (*own, "target_modules")} == {
        key: raw[key] for key in raw if key not in (*own, "target_modules")
    }


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
