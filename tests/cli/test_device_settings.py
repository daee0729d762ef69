"""`--device-map` and `--max-memory`: the same tables, and what is said of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from modeconn.cli.evaluate import Settings
from modeconn.cli.flags import parse_settings
from modeconn.cli.main import main
from modeconn.errors import ModelError
from modeconn.runs import read_csv

LAYER_AWAY = json.dumps({
    "model.embed_tokens": "cpu",
    "model.rotary_emb": "cpu",
    "model.layers.0": "cpu",
    "model.layers.1": "disk",
    "model.norm": "cpu",
    "lm_head": "cpu",
})  # fmt: skip


@pytest.mark.parametrize(
    "settings", [["--device-map", LAYER_AWAY], ["--max-memory", "80KB"]], ids=["spread", "in small batches"]
)
def test_the_tables_are_those_of_one_device_without_a_limit(
    settings: list[str], line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line, "--output-dir", str(tmp_path / "plain")]) == 0
    assert "where the base is" not in capsys.readouterr().err
    assert main([*line, *settings, "--output-dir", str(tmp_path / "other")]) == 0
    told = capsys.readouterr().err
    assert ("% cpu, " in told and "% offloaded; what is offloaded is read again" in told) == (
        settings[0] == "--device-map"
    )
    plain, other = (read_csv(tmp_path / name / "profile.csv") for name in ("plain", "other"))
    pd.testing.assert_frame_equal(other[["t", "loss", "score"]], plain[["t", "loss", "score"]], rtol=1e-4)


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


def test_processes_that_would_share_all_devices_are_refused(
    monkeypatch: pytest.MonkeyPatch, adapters: Callable[..., Path]
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    settings = Settings(tasks=("t",), output_dir=Path("o"), device_map="auto")
    with pytest.raises(ModelError, match=r"(?s)does not go with several processes.*leave --device-map out"):
        settings.load_model([])
