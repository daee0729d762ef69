"""Vocabularies that grew in training are coordinates of the path where all points have the same rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from random_tasks import random_task
from safetensors.torch import load_file
from tiny import make_base, make_tokenizer
from transformers import LlamaForCausalLM

import modeconn as mc
from modeconn.errors import AdapterError, ModelError

pytestmark = pytest.mark.filterwarnings(
    "ignore:Setting `save_embedding_layers` to `True`", "ignore:Model has `tie_word_embeddings=True`"
)
TABLE = "model.embed_tokens.weight"


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with 26 tokens."""
    return make_base(tmp_path_factory.mktemp("base") / "base", "llama", tie_word_embeddings=request.param)


@pytest.fixture
def grown(base: Path, tmp_path: Path) -> Callable[..., Path]:
    """A checkpoint whose vocabulary was resized before training: an adapter, or a full fine-tune."""

    def make(seed: int, *, rows: int = 30, full: bool = False, **settings: Any) -> Path:
        torch.manual_seed(seed)
        model: Any = LlamaForCausalLM.from_pretrained(base)
        model.resize_token_embeddings(rows, mean_resizing=False)
        for parameter in {model.get_input_embeddings().weight, model.get_output_embeddings().weight}:
            parameter.data.normal_()
        model.name_or_path = str(base)
        folder = tmp_path / f"grown-{seed}"
        if full:
            model.save_pretrained(folder)
            make_tokenizer("llama").save_pretrained(folder)
            return folder
        config = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False, **settings)
        get_peft_model(model, config).save_pretrained(str(folder))
        return folder

    return make


SAVED = {"unasked": {}, "as modules_to_save": {"modules_to_save": ["embed_tokens", "lm_head"]}}


@pytest.mark.parametrize("how", SAVED)
def test_adapters_with_as_many_new_rows_are_joined(how, base, grown):
    points = [mc.Adapter.from_pretrained(grown(seed, **SAVED[how])) for seed in (1, 2)]
    assert sorted(points[0].saved) == ["lm_head.weight", TABLE]
    model = mc.AdapterModel.from_pretrained(base, adapters=points)
    line = mc.LinearPath(*points)
    profile = mc.evaluate_path(line, model, [random_task()], num_points=3)
    assert max(profile.checks[line.name]["ends_agree_with_peft_within"].values()) < 1e-5
    torch.testing.assert_close(line(0.5).saved[TABLE], (points[0].saved[TABLE] + points[1].saved[TABLE]) / 2)


def test_full_fine_tunes_with_as_many_new_rows_are_joined(base, grown):
    folders = [grown(seed, full=True) for seed in (1, 2)]
    points = [mc.Adapter.from_pretrained(folder) for folder in folders]
    model = mc.AdapterModel.from_pretrained(base, adapters=points, packed=False)  # the reference is padded
    with model.at(mc.LinearPath(*points)(0.5)) as module:
        mean = sum(load_file(folder / "model.safetensors")[TABLE] for folder in folders) / 2
        torch.testing.assert_close(module.get_input_embeddings().weight.data, mean)
    profile = mc.evaluate_path(mc.LinearPath(*points), model, [random_task()], num_points=2)
    assert set(profile.checks["grown-1 -> grown-2"]["ends_agree_with_peft_within"].values()) == {0.0}


def test_the_base_is_recognised_by_its_own_rows(base, grown):
    points = [mc.Adapter.from_pretrained(grown(seed)) for seed in (1, 2)]
    plain = mc.AdapterModel.from_pretrained(base)
    assert mc.AdapterModel.from_pretrained(base, adapters=points).fingerprint == plain.fingerprint


def test_the_new_rows_of_the_base_are_nothing(base, grown):
    model = mc.AdapterModel.from_pretrained(base, adapters=[mc.Adapter.from_pretrained(grown(1))])
    rows = model.weight(TABLE)
    assert rows.shape == (30, 16)
    assert not rows[26:].any()
    assert torch.equal(rows[:26], load_file(base / "model.safetensors")[TABLE])


def test_other_numbers_of_rows_are_refused_with_both(grown):
    points = [mc.Adapter.from_pretrained(grown(1, rows=30)), mc.Adapter.from_pretrained(grown(2, rows=28))]
    with pytest.raises(
        AdapterError, match=r"cannot be combined\n(?s:.*)model.embed_tokens.weight \[30, 16\] and \[28, 16\]"
    ):
        mc.LinearPath(*points)


@pytest.mark.parametrize("full", [False, True], ids=["adapter", "full fine-tune"])
def test_new_rows_at_one_end_only_are_refused(full, base, grown, tmp_path):
    torch.manual_seed(0)
    model: Any = LlamaForCausalLM.from_pretrained(base)
    plain = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    get_peft_model(model, plain).save_pretrained(str(tmp_path / "plain"))
    points = [mc.Adapter.from_pretrained(grown(1, full=full)), mc.Adapter.from_pretrained(tmp_path / "plain")]
    with pytest.raises(
        (AdapterError, ModelError), match=r"embed_tokens.weight (saved in one only|\[30, 16\] for \[26, 16\])"
    ):
        mc.AdapterModel.from_pretrained(base, adapters=points)
