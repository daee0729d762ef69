"""The nearest adapter to a full fine-tune whose vocabulary has another size than the base's; PEFT is the oracle."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft_oracle import load_base
from safetensors.torch import load_file
from tiny import FAMILIES, LABELS, make_base

import modeconn as mc
from modeconn.adapters.full import FullModel
from modeconn.adapters.truncating import truncated
from modeconn.cli.main import main
from modeconn.errors import AdapterError

pytestmark = [
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to"),
]
Make = Callable[..., tuple[Path, list[Path]]]


@pytest.fixture
def grown(tmp_path: Path) -> Make:
    """A base, and two full fine-tunes of it that were resized before training."""

    def make(family: str, rows: int, **settings: Any) -> tuple[Path, list[Path]]:
        base = make_base(tmp_path / "base", family, **settings)
        folders = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            model = load_base(family, base, torch.float32)
            model.resize_token_embeddings(rows, mean_resizing=False)
            for parameter in model.parameters():
                parameter.data.add_(torch.randn_like(parameter) * 0.2)
            model.save_pretrained(tmp_path / f"grown-{seed}")
            folders.append(tmp_path / f"grown-{seed}")
        return base, folders

    return make


@torch.no_grad()
def logits(model: Any, rows: int) -> torch.Tensor:
    """The logits of a text that has every token."""
    ids = torch.arange(rows).reshape(2, -1)
    decoder = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    return model.eval()(input_ids=ids, **decoder).logits


def of_peft(family: str, base: Path, folder: Path, rows: int) -> torch.Tensor:
    """The logits of the adapter in plain PEFT, on a base with as many tokens."""
    model = load_base(family, base, torch.float32)
    model.resize_token_embeddings(rows, mean_resizing=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return logits(PeftModel.from_pretrained(model, str(folder)), rows)


@pytest.mark.parametrize("rows", [30, 20])
@pytest.mark.parametrize("settings", [{}, {"tie_word_embeddings": True}], ids=["untied", "tied"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_full_rank_is_the_fine_tune(family, settings, rows, grown, tmp_path):
    base, (folder, _) = grown(family, rows, **settings)
    near, error = truncated(mc.Adapter.from_pretrained(folder), 99, base=FullModel.open(base))
    assert error < 1e-6
    near.save_pretrained(tmp_path / "near")
    expected = logits(load_base(family, folder, torch.float32), rows)
    scale = expected.abs().max()
    assert (of_peft(family, base, tmp_path / "near", rows) - expected).abs().max() < 1e-4 * scale
    point = mc.Adapter.from_pretrained(tmp_path / "near")
    model = mc.AdapterModel.from_pretrained(base, adapters=[point], labels=LABELS if family == "bert" else None)
    with model.at(point) as module:
        assert (logits(module, rows) - expected).abs().max() < 1e-4 * scale


def test_a_point_between_two_has_the_mean_of_their_tables(grown):
    base, folders = grown("llama", 30)
    line = mc.LinearPath(*map(mc.Adapter.from_pretrained, folders))
    near, _ = truncated(line(0.25), 2, base=FullModel.open(base))
    ends = [load_file(folder / "model.safetensors") for folder in folders]
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        torch.testing.assert_close(near.saved[name], 0.75 * ends[0][name] + 0.25 * ends[1][name])
    assert near.config.modules_to_save >= ("lm_head", "model.embed_tokens")
    assert {update.rank for update in near.updates.values()} == {2}


def test_the_command_says_what_peft_needs(grown, tmp_path, capsys):
    base, folders = grown("llama", 30)
    line = ["export", "--start", str(folders[0]), "--end", str(folders[1]), "--t", "0.5", "--base-model", str(base)]
    assert main([*line, "--rank", "2", "--output-dir", str(tmp_path / "out")]) == 0
    told = "note: the vocabulary has 30 rows, that of the base 26: before PEFT loads the adapter, resize the base with"
    assert f"{told} resize_token_embeddings(30)\n" in capsys.readouterr().err


def test_a_change_of_a_base_table_has_no_other_rows(grown, adapters):
    """Half a full fine-tune is the base's table in the other half."""
    base, (folder, _) = grown("llama", 30)
    half = mc.LinearPath(mc.Adapter.from_pretrained(folder), mc.Adapter.from_pretrained(adapters("llama", 1)))(0.5)
    with pytest.raises(
        AdapterError, match=r"(?s)does not fit the base model.*embed_tokens.weight \[30, 16\] for \[26, 16\]"
    ):
        truncated(half, 2, base=FullModel.open(base))


def test_a_table_of_another_width_does_not_fit(grown, tmp_path):
    _, (folder, _) = grown("llama", 30)
    wide = make_base(tmp_path / "wide", "llama", hidden_size=32)
    with pytest.raises(AdapterError, match=r"embed_tokens.weight \[30, 16\] for \[26, 32\]"):
        truncated(mc.Adapter.from_pretrained(folder), 2, base=FullModel.open(wide))
