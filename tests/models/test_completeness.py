"""An adapter that lost modules is refused; one whose settings never meant them is not."""

import json
import shutil

import pytest
import torch
from kind_oracle import make_kind
from peft import IA3Config, LNTuningConfig, VeraConfig
from safetensors.torch import load_file, save_file

import modeconn as mc
from modeconn.errors import ModelError
from modeconn.models.prompted import loaded_from_folder


def without(folder, copy, part):
    """A copy of an adapter folder without the tensors whose names hold a text."""
    shutil.copytree(folder, copy)
    tensors = load_file(copy / "adapter_model.safetensors")
    kept = {name: value for name, value in tensors.items() if part not in name}
    assert 0 < len(kept) < len(tensors)
    save_file(kept, copy / "adapter_model.safetensors", metadata={"format": "pt"})
    return copy


def changed_parameters(model, point):
    """The names of the parameters that are not the base's where a point is in place."""
    base = {name: value.detach().clone() for name, value in model.module.named_parameters()}
    with model.at(point) as module:
        return {name for name, value in module.named_parameters() if not torch.equal(value, base[name])}


def test_an_adapter_that_lost_a_layer_is_refused(adapters, tmp_path):
    point = mc.Adapter.from_pretrained(without(adapters("llama", seed=1), tmp_path / "half", "layers.1."))
    expected = (
        r"half is not complete\n  expected: tensors for all 4 modules of .* that its settings target\n"
        r"  got: none for 2 of them: model\.layers\.1\.self_attn\.q_proj, model\.layers\.1\.self_attn\.v_proj\n"
        r"  remedy: copy or save the adapter again"
    )
    with pytest.raises(ModelError, match=expected):
        mc.AdapterModel.from_pretrained(adapters=[point])


@pytest.mark.parametrize("config", [IA3Config, VeraConfig, LNTuningConfig], ids=lambda config: config.__name__)
def test_other_kinds_are_checked_too(config, bases, tmp_path):
    targets = {"target_modules": ["input_layernorm"] if config is LNTuningConfig else ["q_proj"]}
    targets |= {"feedforward_modules": []} if config is IA3Config else {}
    folder = make_kind(tmp_path / "whole", bases("llama"), "llama", config, seed=1, std=0.3, **targets)
    mc.AdapterModel.from_pretrained(adapters=[mc.Adapter.from_pretrained(folder)])
    half = mc.Adapter.from_pretrained(without(folder, tmp_path / "half", "layers.1."))
    with pytest.raises(ModelError, match=r"all 2 modules (?s:.*)none for 1 of them: model\.layers\.1\."):
        mc.AdapterModel.from_pretrained(adapters=[half])


def test_peft_must_find_all_that_it_makes(adapters, bases, tmp_path):
    """What this package holds to be whole, PEFT may still fill with zeros."""
    folder = without(adapters("llama", seed=1), tmp_path / "half", "layers.1.")
    model = mc.AdapterModel.from_pretrained(bases("llama"))
    point = mc.Adapter.from_pretrained(folder)
    expected = (
        r"PEFT finds half incomplete\n  expected: .*\n  got: .*layers\.1\.self_attn\.q_proj\.lora_A(?s:.*)remedy:"
    )
    with pytest.raises(ModelError, match=expected), loaded_from_folder(model.twin(), point):
        pass


TARGETS = {
    "names": {"target_modules": ["q_proj", "v_proj"]},
    "regex": {"target_modules": r".*layers\.1\..*(q|v)_proj"},
    "all linear": {"target_modules": "all-linear"},
    "some layers": {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "layers"},
    "excluded": {"target_modules": ["q_proj"], "exclude_modules": r".*layers\.0\..*"},
    "embeddings": {"target_modules": ["embed_tokens", "q_proj"]},
    "tokens": {"target_modules": ["q_proj"], "trainable_token_indices": [1, 2]},
    "ranks": {"target_modules": ["q_proj", "v_proj"], "rank_pattern": {"q_proj": 1}},
}


@pytest.mark.parametrize("settings", TARGETS.values(), ids=TARGETS)
def test_what_peft_saves_is_complete(settings, adapters):
    point = mc.Adapter.from_pretrained(adapters("llama", seed=1, **settings))
    untrained = {"model.embed_tokens.weight"} if "trainable_token_indices" in settings else set()
    changed = changed_parameters(mc.AdapterModel.from_pretrained(adapters=[point]), point)
    assert changed == {*point.updates} - untrained


def test_all_linear_layers_may_stand_in_the_settings_as_they_were_typed(adapters, tmp_path):
    folder = shutil.copytree(adapters("llama", seed=1, target_modules="all-linear"), tmp_path / "all")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"target_modules": "all-linear"}))
    mc.AdapterModel.from_pretrained(adapters=[mc.Adapter.from_pretrained(folder)])
    half = mc.Adapter.from_pretrained(without(folder, tmp_path / "half", "down_proj"))
    with pytest.raises(ModelError, match=r"all 14 modules .*\n  got: none for 2 of them: model\.layers\.0\.mlp\.down"):
        mc.AdapterModel.from_pretrained(adapters=[half])


def test_nothing_inside_of_a_head_that_is_saved_whole_is_targeted(adapters):
    point = mc.Adapter.from_pretrained(adapters("bert", seed=1, target_modules=["query", "classifier"]))
    assert not any(name.startswith("classifier") for name in point.updates)
    with mc.AdapterModel.from_pretrained(adapters=[point]).at(point) as module:
        assert torch.equal(module.classifier.weight.data, point.saved["classifier.weight"])


def test_points_of_a_path_are_complete(adapters):
    a = mc.Adapter.from_pretrained(adapters("llama", seed=1))
    b = mc.Adapter.from_pretrained(adapters("llama", seed=2, target_modules=["k_proj"]))
    half = mc.LinearPath(a, b)(0.5)
    model = mc.AdapterModel.from_pretrained(adapters=[a, b, half])
    assert changed_parameters(model, half) == {*half.updates}
    assert {*half.updates} == {*a.updates, *b.updates} != {*a.updates}
