"""Mixtures of experts that lie one by one in the files are read as the model holds them: stacked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft_oracle import logits
from safetensors.torch import load_file, save_file
from tiny import VOCABULARY, make_tokenizer
from transformers import MixtralConfig, MixtralForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

import modeconn as mc
from modeconn.adapters.experts import Stacked, stacked
from modeconn.adapters.full import FullModel
from modeconn.adapters.stored import LoadedTensor
from modeconn.models.exporting import export_merged
from modeconn.models.fingerprint import base_fingerprint, stored_fingerprint

SIZES: dict[str, Any] = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
MODELS: dict[str, Callable[[], Any]] = {
    "mixtral": lambda: MixtralForCausalLM(MixtralConfig(num_local_experts=3, **SIZES)),
    "qwen3-moe": lambda: Qwen3MoeForCausalLM(
        Qwen3MoeConfig(num_experts=12, num_experts_per_tok=2, moe_intermediate_size=12, head_dim=4, **SIZES)
    ),
}


@pytest.fixture(params=MODELS)
def pair(request, tmp_path) -> tuple[list[Any], list[Path]]:
    """Two random models of one architecture, and their folders; twelve experts, so that 10 sorts before 2."""
    models, folders = [], []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = MODELS[request.param]().eval()
        for parameter in model.parameters():
            parameter.data.mul_(4.0)
        folder = tmp_path / f"m{seed}"
        model.save_pretrained(folder)
        make_tokenizer("llama").save_pretrained(folder)
        models.append(model.requires_grad_(False))
        folders.append(folder)
    return models, folders


def test_every_parameter_is_that_of_the_model(pair):
    models, folders = pair
    assert any(".experts.1." in name for name in load_file(folders[0] / "model.safetensors"))
    opened, parameters = FullModel.open(folders[0]), dict(models[0].named_parameters())
    assert opened.stored.keys() == parameters.keys()
    for name, parameter in parameters.items():
        assert torch.equal(opened.weight(name), parameter), name
    assert any(isinstance(one, Stacked) for one in opened.stored.values())


def test_the_fingerprint_is_that_of_the_loaded_model(pair):
    models, folders = pair
    assert stored_fingerprint(FullModel.open(folders[0])) == base_fingerprint(models[0])


def test_a_line_is_that_between_the_models(pair, tmp_path):
    models, folders = pair
    line = mc.LinearPath(*map(mc.Adapter.from_pretrained, folders))
    folder = export_merged(line(0.3), tmp_path / "merged")
    merged = type(models[0]).from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, parameter in models[0].named_parameters():
            parameter.lerp_(models[1].get_parameter(name), 0.3)
    torch.testing.assert_close(logits(merged), logits(models[0]), rtol=1e-4, atol=1e-5)


def test_the_ends_agree_with_transformers(pair):
    _, folders = pair
    points = [mc.Adapter.from_pretrained(folder) for folder in folders]
    model = mc.AdapterModel.from_pretrained(folders[0], adapters=points)
    for point in points:
        with model.at(point) as module, model.reference(point) as reference:
            assert torch.equal(logits(module), logits(reference))


@pytest.mark.parametrize(("start", "stop"), [(0, 24), (3, 5), (5, 7), (6, 18), (11, 24)])
def test_a_stretch_may_lie_in_several_experts(start, stop):
    parts = tuple(LoadedTensor.of(f"{n}", torch.arange(6.0).view(2, 3) + 6 * n) for n in range(4))
    whole = Stacked("w", torch.float32, (2, 4, 3), Path("memory"), parts)
    assert whole.stretch(start, stop).tolist() == list(range(start, stop))
    assert whole.read().shape == (2, 4, 3)


def test_experts_of_other_shapes_stay_as_they_are(pair):
    _, folders = pair
    opened = FullModel.open(folders[0])
    tensors = {n: LoadedTensor.of(n, t) for n, t in load_file(folders[0] / "model.safetensors").items()}
    odd = next(name for name in tensors if ".experts.1." in name)
    found = stacked(tensors | {odd: LoadedTensor.of(odd, torch.ones(3, 5))}, opened.skeleton.conversions)
    assert odd in found
    assert odd not in stacked(tensors, opened.skeleton.conversions)


def test_experts_that_are_stacked_already_are_read_too(pair):
    models, folders = pair
    save_file(models[0].state_dict(), folders[0] / "model.safetensors", metadata={"format": "pt"})
    opened = FullModel.open(folders[0])
    assert all(torch.equal(opened.weight(name), one) for name, one in models[0].named_parameters())
