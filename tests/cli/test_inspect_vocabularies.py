"""`modeconn inspect` with a base of another vocabulary than the checkpoint's: it grew in training, and is said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from tiny import FAMILIES, TARGETS, TASK_TYPES, make_base

from modeconn.cli.main import main

pytestmark = pytest.mark.filterwarnings(
    "ignore:Setting `save_embedding_layers` to `True`", "ignore:Model has `tie_word_embeddings=True`"
)


@pytest.fixture
def grown(tmp_path: Path) -> Callable[..., Path]:
    """A checkpoint whose vocabulary was resized before training: an adapter, or a full fine-tune."""

    def make(family: str, base: Path, *, rows: int = 30, full: bool = False) -> Path:
        torch.manual_seed(rows)
        model: Any = type(FAMILIES[family]()).from_pretrained(base, dtype=torch.float32)
        model.resize_token_embeddings(rows, mean_resizing=False)
        model.name_or_path = str(base)
        folder = tmp_path / f"{family}-{rows}"
        if full:
            for parameter in model.parameters():
                parameter.data.add_(0.1)
            model.save_pretrained(folder)
            return folder
        options: dict[str, Any] = {"target_modules": TARGETS[family], "task_type": TASK_TYPES[family]}
        options |= {"fan_in_fan_out": True} if family == "gpt2" else {}
        get_peft_model(model, LoraConfig(r=2, init_lora_weights=False, **options)).save_pretrained(str(folder))
        return folder

    return make


@pytest.mark.parametrize("rows", [30, 20])
@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
def test_a_vocabulary_of_another_size_is_a_remark(family, rows, bases, grown, capsys):
    folder = grown(family, bases(family), rows=rows)
    assert main(["inspect", str(folder), "--base-model", str(bases(family)), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert f"{folder.name} brings a vocabulary of {rows} rows along; the base has 26" in content["notes"]
    assert all(row["relative norm"] > 0 for row in content["modules"] if row["kind"] == "LORA")


def test_of_a_tied_base_too(grown, tmp_path, capsys):
    base = make_base(tmp_path / "base", "llama", tie_word_embeddings=True)
    folder = grown("llama", base)
    assert main(["inspect", str(folder), "--base-model", str(base)]) == 0
    assert "note: llama-30 brings a vocabulary of 30 rows along; the base has 26" in capsys.readouterr().err


@pytest.mark.parametrize("rows", [30, 20])
def test_new_rows_of_a_full_fine_tune_count_from_zero(rows, bases, grown, capsys):
    folder = grown("llama", bases("llama"), rows=rows, full=True)
    assert main(["inspect", str(folder), "--base-model", str(bases("llama")), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert any(f"a vocabulary of {rows} rows" in note for note in content["notes"])
    name = "model.embed_tokens.weight"
    before, after = (load_file(one / "model.safetensors")[name].double() for one in (bases("llama"), folder))
    both = min(rows, 26)
    change = torch.cat([after[:both] - before[:both], after[both:]])
    found = next(row["norm"] for row in content["modules"] if row["parameter"] == name)
    assert found == pytest.approx(float(change.norm()), rel=1e-6)


def test_a_vocabulary_of_the_bases_size_needs_no_remark(adapters, bases, capsys):
    folder = adapters("llama", 1, modules_to_save=["embed_tokens", "lm_head"])
    assert main(["inspect", str(folder), "--base-model", str(bases("llama"))]) == 0
    assert "vocabulary" not in capsys.readouterr().err


def test_rows_of_another_width_do_not_fit(grown, tmp_path, bases, capsys):
    wider = make_base(tmp_path / "wider", "llama", hidden_size=32)
    assert main(["inspect", str(grown("llama", bases("llama"))), "--base-model", str(wider)]) == 1
    assert "model.embed_tokens.weight [30, 16] for [26, 32]" in capsys.readouterr().err
