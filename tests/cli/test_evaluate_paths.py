"""Several paths in one evaluation: spaces side by side, names that differ, whose heads count."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import modeconn as mc
from modeconn.cli.main import main
from modeconn.paths import save_path
from modeconn.runs import read_csv, read_record

pytestmark = pytest.mark.usefixtures("svg_only")


@pytest.fixture
def curve(adapters: Callable[..., Path], tmp_path: Path) -> Path:
    """A curve beside the line, saved from Python without a name."""
    start, end, bend = (mc.Adapter.from_pretrained(adapters("llama", seed)) for seed in (1, 2, 3))
    return save_path(mc.BezierCurve([start, bend, end]), tmp_path / "arc")


def test_a_line_in_factors_stands_beside_a_curve_in_weights(
    line: list[str], curve: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([*line, "--space", "factors", "--path", str(curve), "--output-dir", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("test split, space=factors, weights, loss in nats\n")
    assert re.search(r"^path +space +task ", printed, re.MULTILINE)
    assert re.search(r"^llama-1 -> llama-2 +factors +first ", printed, re.MULTILINE)
    assert re.search(r"^bezier llama-1 -> llama-2 +weights +first ", printed, re.MULTILINE)
    frame = read_csv(out / "profile.csv")
    spaces = dict(zip(frame["path"], frame["space"], strict=True))
    assert spaces == {"llama-1 -> llama-2": "factors", "bezier llama-1 -> llama-2": "weights"}
    assert {"profile.svg", "paths-compared.svg"} <= {file.name for file in (out / "figures").iterdir()}


def test_paths_of_one_name_are_told_apart_by_their_folders(short: list[str], curve: Path, tmp_path: Path) -> None:
    content = json.loads((curve / "path.json").read_text())
    (curve / "path.json").write_text(json.dumps(content | {"name": "llama-1 -> llama-2"}))  # as older ones are named
    assert main([*short, "--path", str(curve), "--output-dir", str(tmp_path / "out")]) == 0
    paths = read_csv(tmp_path / "out" / "profile.csv")["path"]
    assert set(paths) == {"llama-1 -> llama-2", "llama-1 -> llama-2 (arc)"}


def test_a_path_that_is_given_twice_is_refused(
    line: list[str], curve: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line, "--path", str(curve), str(curve), "--output-dir", str(tmp_path / "out")]) == 1
    assert "the paths cannot be told apart" in capsys.readouterr().err


@pytest.fixture
def classifiers(adapters: Callable[..., Path]) -> list[str]:
    """An evaluation of two classifiers that recorded no classes; task and output folder left out."""
    ends = ["--start", str(adapters("bert", 1)), "--end", str(adapters("bert", 2))]
    return ["evaluate", *ends, "--num-points", "2", "--quiet"]


def test_the_policy_for_heads_stands_in_the_title(
    classifiers: list[str], task_folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*classifiers, "--tasks", task_folders[0], "--output-dir", str(tmp_path / "out")]
    assert main([*given, "--heads", "shared"]) == 0
    assert capsys.readouterr().out.startswith("test split, space=weights, heads=shared, loss in nats\n")


def test_classes_in_the_order_of_a_tasks_labels_are_noted_and_recorded(
    classifiers: list[str], task_folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*classifiers, "--tasks", task_folders[0], "--output-dir", str(tmp_path / "out")]
    labels = json.loads((Path(task_folders[0]) / "task.json").read_text())["labels"]
    for _ in range(2):  # measured, and shown again
        assert main(given) == 0
        note = f"note: classes taken in the order of first's labels: {', '.join(labels)}\n"
        assert note in capsys.readouterr().out
    record = read_record(tmp_path / "out")
    assert record is not None
    assert record.facts["classes_taken"] == {"first": labels}


def test_classes_in_alphabetical_order_are_refused(
    classifiers: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "tone.csv"
    table.write_text("text,label\ncat,good\ndog,bad\nmat,maybe\n")
    given = [*classifiers, "--tasks", str(table)]
    assert main([*given, "--output-dir", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert "those of tone were collected from its data, in alphabetical order" in told
    assert "remedy: give labels=... (--labels)" in told
    assert not (tmp_path / "out").exists()
    assert main([*given, "--labels", "good", "bad", "maybe", "--output-dir", str(tmp_path / "out")]) == 0
