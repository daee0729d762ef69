"""Kinds of adapters beside quantised weights: what runs there, and what is refused with the reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from kind_oracle import loaded_by_peft, make_kind
from peft_oracle import load_base, logits
from random_tasks import random_task
from tiny import make_base

import modeconn as mc
from modeconn.adapters.methods import WeGeFTConfig

PACKAGES = {"torchao-int8": "torchao", "bnb-8bit": "bitsandbytes", "bnb-4bit": "bitsandbytes"}
TARGETS: dict[str, Any] = {"target_modules": ["q_proj", "down_proj"]}
Make = Callable[..., Path]


@pytest.fixture(params=PACKAGES)
def quantization(request: pytest.FixtureRequest) -> str:
    """A way to quantise, where its package is installed."""
    pytest.importorskip(PACKAGES[request.param])
    return request.param


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with products wide enough for blocks of 64 numbers."""
    return make_base(tmp_path_factory.mktemp("wide") / "base", "llama", hidden_size=64, intermediate_size=128)


@pytest.fixture(scope="module")
def make(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Makes an adapter of a kind."""

    def adapter(config: type, *, seed: int = 1, **settings: Any) -> Path:
        folder = tmp_path_factory.mktemp("kinds") / config.__name__
        return make_kind(folder, base, "llama", config, seed=seed, std=0.2, **(TARGETS | settings))

    return adapter


def evaluate(base: Path, folder: Path, quantization: str) -> None:
    """Measure a checkpoint, its comparison with PEFT included."""
    point = mc.Adapter.from_pretrained(folder)
    model = mc.AdapterModel.from_pretrained(base, adapters=[point], quantization=quantization)
    mc.evaluate_path(mc.LinearPath(point, point), model, [random_task()], num_points=2)


def test_an_added_bias_runs_beside_a_rounded_weight(make, base, tmp_path):
    """The oracle is PEFT on a base whose weights are the rounded ones: it cannot load such an adapter beside them."""
    pytest.importorskip("torchao")
    folder = make(peft.LoraConfig, r=2, lora_bias=True)
    point = mc.Adapter.from_pretrained(folder)
    model = mc.AdapterModel.from_pretrained(base, adapters=[point], quantization="torchao-int8")
    rounded = load_base("llama", base, torch.float32)
    for name, parameter in rounded.named_parameters():
        parameter.data.copy_(model.weight(name))
    rounded.save_pretrained(tmp_path / "rounded")
    expected = logits(loaded_by_peft("llama", tmp_path / "rounded", folder, torch.float32))
    with model.at(point) as module:
        assert (logits(module) - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("settings", [{}, {"use_dora": True}], ids=["plain", "DoRA"])
def test_pissa_is_not_started_from_rounded_weights(settings, quantization, make, base):
    folder = make(peft.LoraConfig, r=2, init_lora_weights="pissa", **settings)
    with pytest.raises(mc.ModelError, match=r"(?s)is not known beside the quantised base.*q_proj.*initial=FOLDER"):
        evaluate(base, folder, quantization)


def test_pissa_with_its_first_factors_runs_beside_rounded_weights(quantization, make, base):
    """It is plain LoRA of twice the rank then."""
    start = make(peft.LoraConfig, seed=None, r=2, init_lora_weights="pissa")
    trained = make(peft.LoraConfig, r=2, init_lora_weights="pissa")
    point = mc.Adapter.from_pretrained(trained, initial=start)
    model = mc.AdapterModel.from_pretrained(base, adapters=[point], quantization=quantization)
    line = mc.LinearPath(point, mc.Adapter.from_pretrained(make(peft.LoraConfig, r=2), name="other"))
    profile = mc.evaluate_path(line, model, [random_task()], num_points=3)
    agree = profile.checks[line.name]["ends_agree_with_peft_within"]
    assert len(agree) == 2  # both ends were compared with PEFT, beside the same rounded weights
    assert max(agree.values()) < 1e-4
    assert profile.frame["loss"].nunique() == 3


def test_what_peft_cannot_load_beside_a_base_is_told(make, base):
    """LoHa takes the shape of the packed numbers for that of the weight."""
    pytest.importorskip("bitsandbytes")
    with pytest.raises(mc.ModelError, match=r"(?s)PEFT cannot load .* beside this base.*size mismatch.*check=False"):
        evaluate(base, make(peft.LoHaConfig, r=2), "bnb-4bit")


def test_wegeft_needs_plain_numbers(quantization, make, base):
    with pytest.raises(mc.AdapterError, match=r"(?s)q_proj cannot be computed with.*without quantisation"):
        evaluate(base, make(WeGeFTConfig, r=2, alpha=2), quantization)
