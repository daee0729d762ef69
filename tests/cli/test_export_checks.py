"""`modeconn export` refuses what `evaluate` refuses, and an exported point has the vocabulary of its ends."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny import make_base, make_tokenizer
from transformers import AutoTokenizer, LlamaForCausalLM

from modeconn.cli.main import main

WAYS = {"exact": [], "rank": ["--rank", "2"], "merged": ["--merged"]}


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., int]:
    """Exports the middle of a line."""

    def run(start: Path, end: Path, *more: object) -> int:
        ends = ["--start", str(start), "--end", str(end), "--t", "0.5"]
        return main(["export", *ends, "--output-dir", str(tmp_path / "out"), *map(str, more)])

    return run


@pytest.fixture
def half(adapters: Callable[..., Path], tmp_path: Path) -> Path:
    """An adapter that lost a layer."""
    copy = Path(shutil.copytree(adapters("llama", 2), tmp_path / "half"))
    tensors = load_file(copy / "adapter_model.safetensors")
    kept = {name: value for name, value in tensors.items() if "layers.1." not in name}
    assert 0 < len(kept) < len(tensors)
    save_file(kept, copy / "adapter_model.safetensors", metadata={"format": "pt"})
    return copy


@pytest.mark.parametrize("way", WAYS)
def test_an_end_that_lost_a_layer_is_refused(way, half, adapters, bases, export, tmp_path, capsys):
    whole = adapters("llama", 1)
    assert export(whole, half, *WAYS[way], "--base-model", bases("llama")) == 1
    told = capsys.readouterr().err
    assert "half is not complete" in told
    assert "got: none for 2 of them: model.layers.1.self_attn.q_proj" in told
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.parametrize("way", WAYS)
def test_a_base_with_other_embeddings_is_refused(way, adapters, bases, export, tmp_path, capsys):
    ends = [adapters("llama", seed, target_modules=["embed_tokens"]) for seed in (1, 2)]
    other = make_base(tmp_path / "other", "llama", seed=9)
    assert export(*ends, *WAYS[way], "--base-model", other) == 1
    assert "llama-1 was trained on other embeddings than those of" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert export(*ends, *WAYS[way], "--base-model", bases("llama")) == 0


@pytest.fixture
def grown(bases: Callable[[str], Path], tmp_path: Path) -> Callable[[int], Path]:
    """An adapter whose vocabulary grew by two tokens in training, with its tokenizer beside it."""

    def make(seed: int) -> Path:
        torch.manual_seed(seed)
        model: Any = LlamaForCausalLM.from_pretrained(bases("llama"))
        tokenizer = make_tokenizer("llama")
        tokenizer.add_tokens(["<new>", "<newer>"])
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        model.name_or_path = str(bases("llama"))
        config = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
        folder = tmp_path / f"grown-{seed}"
        get_peft_model(model, config).save_pretrained(str(folder))
        tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers` to `True`")
@pytest.mark.parametrize("way", WAYS)
def test_new_tokens_come_along(way, grown, export, tmp_path):
    ends = [grown(1), grown(2)]
    assert export(*ends, *WAYS[way]) == 0
    ours, theirs = (AutoTokenizer.from_pretrained(folder) for folder in (tmp_path / "out", ends[0]))
    assert len(ours) == len(theirs) == 28
    text = "the cat <new> sat <newer>"
    assert ours(text)["input_ids"] == theirs(text)["input_ids"]


@pytest.mark.parametrize("way", WAYS)
def test_the_tokenizer_of_the_base_stays_where_no_end_has_one(way, adapters, export, bases, tmp_path):
    assert export(adapters("llama", 1), adapters("llama", 2), *WAYS[way]) == 0
    found = {file.name for file in (tmp_path / "out").iterdir() if file.name.startswith("tokenizer")}
    wanted = {file.name for file in bases("llama").iterdir() if file.name.startswith("tokenizer")}
    assert found == (wanted if way == "merged" else set())


def test_an_adapter_that_names_a_quantised_base_is_not_held_against_it(adapters, bases, export, tmp_path):
    """Its packed numbers say nothing about shapes; an exact adapter needs none of them."""
    base = Path(shutil.copytree(bases("llama"), tmp_path / "base"))
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "bitsandbytes"}}))
    assert export(adapters("llama", 1), adapters("llama", 2), "--base-model", base) == 0


def test_a_base_of_other_sizes_is_refused(adapters, export, tmp_path, capsys):
    other = make_base(tmp_path / "other", "llama", hidden_size=24)
    assert export(adapters("llama", 1), adapters("llama", 2), "--base-model", other) == 1
    assert "llama-1 does not fit the base model" in capsys.readouterr().err
