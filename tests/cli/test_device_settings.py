"""`--device-map` and `--max-memory`: the same tables, and what is said of them."""

import json
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny import VOCABULARY, make_tokenizer
from transformers import RobertaConfig, RobertaForCausalLM

from modeconn.cli.evaluate import Settings
from modeconn.cli.flags import parse_settings
from modeconn.cli.main import main
from modeconn.errors import ModelError
from modeconn.runs import read_csv

pytestmark = pytest.mark.usefixtures("svg_only")
LAYER_AWAY = json.dumps({
    "model.embed_tokens": "cpu",
    "model.rotary_emb": "cpu",
    "model.layers.0": "cpu",
    "model.layers.1": "disk",
    "model.norm": "cpu",
    "lm_head": "cpu",
})  # fmt: skip


@pytest.fixture(scope="module")
def plain(svg_only: None, line_of_two_tasks: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    """The run folder of one device without a limit, of which nothing is said; not to be changed."""
    folder, told = tmp_path_factory.mktemp("plain") / "out", StringIO()
    with redirect_stderr(told):
        assert main([*line_of_two_tasks, "--output-dir", str(folder)]) == 0
    assert "where the base is" not in told.getvalue()
    return folder


@pytest.mark.parametrize(
    "settings", [["--device-map", LAYER_AWAY], ["--max-memory", "80KB"]], ids=["spread", "in small batches"]
)
def test_the_tables_are_those_of_one_device_without_a_limit(
    settings: list[str], line: list[str], plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line, *settings, "--output-dir", str(tmp_path / "other")]) == 0
    told = capsys.readouterr().err
    assert ("% cpu, " in told and "% offloaded; what is offloaded is read again" in told) == (
        settings[0] == "--device-map"
    )
    expected, other = (read_csv(folder / "profile.csv") for folder in (plain, tmp_path / "other"))
    pd.testing.assert_frame_equal(other[["t", "loss", "score"]], expected[["t", "loss", "score"]], rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["--device-map", "nonsense"], "unknown device map 'nonsense'"),
        (["--device-map", "{bad"], "device_map (--device-map) is no JSON object"),
        (["--max-memory", "much"], "max_memory (--max-memory) is no amount of memory"),
        (["--max-memory", "20KB"], "the base model does not fit into max_memory (--max-memory)"),
        (["--device-map", '{"": "cpu"}', "--max-memory", "3"], "max_memory (--max-memory) cannot be followed"),
    ],
)
def test_what_cannot_be_followed_leaves_no_run(
    settings: list[str], told: str, line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line, *settings, "--output-dir", str(tmp_path / "out")]) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out" / "profile.csv").exists()


@pytest.mark.parametrize(
    ("typed", "device_map", "max_memory"),
    [
        (["--device-map", "auto", "--max-memory", "12GiB"], "auto", "12GiB"),
        (["--max-memory", "1.5"], None, 1.5),
        (["--device-map", '{"model": 0}', "--max-memory", '{"cpu": 3}'], {"model": 0}, {"cpu": 3}),
    ],
)
def test_values_are_read_as_they_are_meant(typed: list[str], device_map: Any, max_memory: Any) -> None:
    ends = ["--start", "a", "--end", "b", "--tasks", "c", "--output-dir", "d"]
    read = parse_settings(Settings, [*ends, *typed], prog="modeconn evaluate", description="")
    assert (read.device_map, read.max_memory) == (device_map, max_memory)


def test_a_file_may_hold_a_map(line: list[str], tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("device_map: {model: disk, lm_head: cpu}\n")
    config = ["--config", str(tmp_path / "settings.yaml")]
    read = parse_settings(Settings, [*line[1:], *config, "--output-dir", "o"], prog="modeconn evaluate", description="")
    assert read.device_map == {"model": "disk", "lm_head": "cpu"}


def test_processes_that_would_share_all_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    settings = Settings(tasks=("t",), output_dir=Path("o"), device_map="auto")
    with pytest.raises(ModelError, match=r"(?s)does not go with several processes.*leave --device-map out"):
        settings.load_model([])
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")  # each has a machine of its own
    with pytest.raises(ModelError, match="the base model is not known"):
        settings.load_model([])


def test_a_base_that_must_be_padded_is_said_so_once(
    task_folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = RobertaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        is_decoder=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    RobertaForCausalLM(config).save_pretrained(tmp_path / "base")
    make_tokenizer("llama").save_pretrained(tmp_path / "base")
    ends = [tmp_path / f"adapter-{number}" for number in (1, 2)]
    for folder in ends:
        model: Any = RobertaForCausalLM.from_pretrained(tmp_path / "base")
        model.name_or_path = str(tmp_path / "base")
        settings: Any = {"target_modules": ["query"], "task_type": "CAUSAL_LM", "init_lora_weights": False}
        get_peft_model(model, LoraConfig(r=2, **settings)).save_pretrained(str(folder))
    paths = ["--start", str(ends[0]), "--end", str(ends[1]), "--output-dir", str(tmp_path / "out")]
    assert main(["evaluate", *paths, "--tasks", *task_folders, "--num-points", "2", "--quiet"]) == 0
    assert capsys.readouterr().err.count("note: rows are padded: RobertaForCausalLM") == 1
