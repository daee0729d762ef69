"""Kinds without factors leave as the nearest LoRA adapter or as a merged model; kinds without an update do not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from kind_oracle import loaded_by_peft as load_any
from kind_oracle import make_kind
from peft import IA3Config, LoHaConfig, LoraConfig, OFTConfig, PeftConfig
from peft_oracle import load_base, logits
from prompt_adapters import make_prompt

import modeconn as mc
from modeconn.adapters.full import FullModel
from modeconn.adapters.truncating import truncated
from modeconn.errors import AdapterError, ModelError
from modeconn.models.exporting import export_merged

TARGETS = {"llama": ["q_proj", "down_proj"], "gpt2": ["c_attn", "c_fc"]}
KINDS: dict[str, tuple[type[PeftConfig], dict[str, Any]]] = {
    "DoRA": (LoraConfig, {"use_dora": True, "r": 2}),
    "LoHa": (LoHaConfig, {"r": 2}),
    "IA3": (IA3Config, {}),
    "OFT": (OFTConfig, {"r": 4, "oft_block_size": 0}),
}
Make = Callable[..., tuple[Path, mc.Adapter]]


@pytest.fixture
def make(bases: Callable[[str], Path], tmp_path: Path) -> Make:
    """A random adapter of a kind, and its point."""

    def made(kind: str, family: str, seed: int = 1) -> tuple[Path, mc.Adapter]:
        config, settings = KINDS[kind]
        targets = TARGETS[family]
        settings = settings | {"target_modules": targets}
        if kind == "IA3":
            settings["feedforward_modules"] = targets[1:]
        if family == "gpt2" and kind in ("DoRA", "IA3"):
            settings["fan_in_fan_out"] = True
        folder = make_kind(tmp_path / f"{kind}-{seed}", bases(family), family, config, seed=seed, std=0.3, **settings)
        return folder, mc.Adapter.from_pretrained(folder)

    return made


CASES = [
    (kind, family) for kind in KINDS for family in TARGETS if (kind, family) not in (("LoHa", "gpt2"), ("OFT", "gpt2"))
]


@pytest.mark.parametrize(("kind", "family"), CASES)
def test_a_checkpoint_merges_as_peft_evaluates_it(kind, family, make, bases, tmp_path):
    folder, point = make(kind, family)
    merged = load_base(family, export_merged(point, tmp_path / "merged"), torch.float32)
    expected = logits(load_any(family, bases(family), folder, torch.float32))
    torch.testing.assert_close(logits(merged), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "family"), CASES)
def test_at_full_rank_the_nearest_lora_is_the_checkpoint(kind, family, make, bases, tmp_path):
    folder, point = make(kind, family)
    near, error = truncated(point, 99, base=FullModel.open(bases(family)))
    near.save_pretrained(tmp_path / "near")
    assert error < 1e-6
    found = logits(load_any(family, bases(family), tmp_path / "near", torch.float32))
    expected = logits(load_any(family, bases(family), folder, torch.float32))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_error_of_a_lower_rank_is_that_of_the_update(make, bases):
    point = make("DoRA", "llama")[1]
    model = mc.AdapterModel.from_pretrained(bases("llama"), adapters=[point])
    near, error = truncated(point, 2, base=FullModel.open(bases("llama")))
    bound = point.on(model)
    assert error == pytest.approx((bound - near).norm() / bound.norm(), rel=1e-4)
    assert 0 < error < 1


def test_a_point_between_two_merges_as_it_is_placed(make, bases, tmp_path):
    line = mc.LinearPath(*(make("DoRA", "llama", seed)[1] for seed in (1, 2)))
    model = mc.AdapterModel.from_pretrained(bases("llama"), adapters=line.points)
    merged = load_base("llama", export_merged(line(0.4), tmp_path / "merged"), torch.float32)
    with model.at(line(0.4)) as module:
        torch.testing.assert_close(logits(merged), logits(module), rtol=1e-4, atol=1e-5)


def test_without_the_base_dora_has_no_nearest_adapter(make):
    with pytest.raises(
        AdapterError, match=r"the weight update of .* \(Dora\) is a function of the base model's weights"
    ):
        truncated(make("DoRA", "llama")[1], 2)


def test_a_prompt_cannot_be_merged(bases, tmp_path):
    point = mc.Adapter.from_pretrained(
        make_prompt(tmp_path / "prompt", bases("llama"), "llama", "PROMPT_TUNING", seed=1)
    )
    expected = (
        r"cannot merge prompt\n  expected: a point whose weight updates can be added to the base's weights\n"
        r"  got: an adapter of the kind PROMPT_TUNING, which has no weight update\n  remedy: use it with PEFT"
    )
    with pytest.raises(ModelError, match=expected):
        export_merged(point, tmp_path / "out")
