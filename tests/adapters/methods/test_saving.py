"""Saved by PEFT, loaded by PEFT: the same bits."""

import json

import pytest
import torch
from peft import PeftModel
from peft_oracle import logits
from safetensors.torch import load_file
from tiny import FAMILIES, TASK_TYPES

from modeconn.errors import AdapterError

METHODS = [
    "wegeft tied",
    "wegeft per layer",
    "wegeft tied output",
    "wegeft per layer output",
    "loretta rep",
    "loretta adp",
]
Q = "base_model.model.model.layers.{}.self_attn.q_proj."
PAIR = ["wegeft_phi", "wegeft_psi"]
CORES = ["down.0", "down.1", "up.0", "up.1"]
NAMES = {
    "wegeft tied": [Q.format(0) + name for name in PAIR],
    "wegeft per layer": [Q.format(layer) + name for layer in (0, 1) for name in PAIR],
    "loretta rep": [Q.format(layer) + "loretta_rep_" + name for layer in (0, 1) for name in CORES],
    "loretta adp": [
        Q.format(layer) + "loretta_adp_" + name for layer in (0, 1) for name in [*CORES, "down_bias", "up_bias"]
    ],
}


@pytest.mark.parametrize("low_memory", [False, True])
@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "t5"])
@pytest.mark.parametrize("method", METHODS)
def test_a_loaded_adapter_gives_the_same_bits(method, family, low_memory, base, trained, tmp_path):
    model = trained(method, family)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(base(family), tmp_path, low_cpu_mem_usage=low_memory).eval()
    assert torch.equal(logits(loaded), logits(model))
    assert not torch.allclose(logits(loaded), logits(base(family)), atol=1e-4)


@pytest.mark.parametrize("method", NAMES)
def test_a_file_holds_each_tensor_once(method, trained, tmp_path):
    model = trained(method, "llama", target_modules=["q_proj"])
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    assert sorted(tensors) == sorted(NAMES[method])
    assert sum(one.numel() for one in tensors.values()) == sum(
        one.numel() for one in model.parameters() if one.requires_grad
    )


@pytest.mark.parametrize("method", ["loretta rep", "loretta adp"])
def test_the_shapes_of_the_tensors_are_noted(method, trained, tmp_path):
    trained(method, "llama", target_modules=["down_proj"]).save_pretrained(tmp_path)
    noted = json.loads((tmp_path / "adapter_config.json").read_text())["tensor_shapes"]
    assert noted == ([[16, 4], [8, 4, 4]] if method == "loretta rep" else [[16, 4]])


@pytest.mark.parametrize("method", ["loretta rep", "loretta adp"])
def test_a_given_shape_of_the_tensors_is_kept(method, base, trained, tmp_path):
    model = trained(method, "llama", tensor_shapes=[[2, 8, 4]])
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(PeftModel.from_pretrained(base("llama"), tmp_path).eval()), logits(model))
    cores = load_file(tmp_path / "adapter_model.safetensors")
    assert {value.shape[1] for name, value in cores.items() if "_down.0" in name} == {2}


@pytest.mark.parametrize("method", METHODS)
def test_a_saved_head_comes_back(method, base, trained, tmp_path):
    model = trained(method, "bert", task_type=TASK_TYPES["bert"])
    model.save_pretrained(tmp_path)
    assert "base_model.model.classifier.weight" in load_file(tmp_path / "adapter_model.safetensors")
    assert torch.equal(logits(PeftModel.from_pretrained(base("bert"), tmp_path).eval()), logits(model))


@pytest.mark.parametrize("method", METHODS)
def test_modules_to_save_come_back(method, base, trained, tmp_path):
    model = trained(method, "llama", modules_to_save=["lm_head"])
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(PeftModel.from_pretrained(base("llama"), tmp_path).eval()), logits(model))


@pytest.mark.parametrize("method", METHODS)
def test_training_goes_on_from_a_loaded_adapter(method, base, trained, tmp_path):
    trained(method, "llama").save_pretrained(tmp_path)
    model = PeftModel.from_pretrained(base("llama"), tmp_path, is_trainable=True)
    frozen = PeftModel.from_pretrained(base("llama"), tmp_path)
    assert any(one.requires_grad for one in model.parameters())
    assert not any(one.requires_grad for one in frozen.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_each_of_several_adapters_is_saved_by_itself(method, base, moved, settings, trained, tmp_path):
    model = trained(method, "llama", seed=1)
    model.add_adapter("second", settings(method, "llama", target_modules=["q_proj", "k_proj"]))
    model.set_adapter("second")
    moved(model, seed=2)
    model.save_pretrained(tmp_path)
    for name, folder in (("default", tmp_path), ("second", tmp_path / "second")):
        model.set_adapter(name)
        loaded = PeftModel.from_pretrained(base("llama"), folder).eval()
        assert torch.equal(logits(loaded), logits(model.eval()))


def test_a_tied_adapter_of_another_model_is_refused(trained, tmp_path):
    trained("wegeft tied", "llama").save_pretrained(tmp_path)
    deeper = FAMILIES["llama"](num_hidden_layers=3)
    with pytest.raises(AdapterError, match=r"of another model\n  expected: the modules .*\n  got: .*\.2\."):
        PeftModel.from_pretrained(deeper, tmp_path)
