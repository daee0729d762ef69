"""What cannot be is told before a model is loaded, by a dry run too, and leaves no folder."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from modeconn.cli.main import main

pytestmark = pytest.mark.usefixtures("svg_only")

BAD_POSITIONS = [
    (["--num-points", "1"], "too few points on the path"),
    (["--t", "0", "0.5", "0.5", "1"], "the positions on the path are not increasing"),
    (["--t", "0", "nan", "1"], "the positions on the path are not increasing"),
    (["--t=0", "--t", "0", "inf"], "the positions do not cover the path"),
    (["--tolerance", "nan"], "a profile cannot be resolved to tolerance=nan"),
    (["--tolerance", "2"], "a profile cannot be resolved to tolerance=2.0"),
    (["--tolerance", "0.01", "--t", "0", "1"], "the positions on the path are asked for in two ways"),
]


@pytest.fixture
def nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a base model would fail."""
    monkeypatch.setattr("modeconn.models.adapter_model.load_base", None)


def refused(arguments: list[str], out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The error of a command that must end with code 1 and leave nothing."""
    assert main([*arguments, "--output-dir", str(out)]) == 1
    told = capsys.readouterr().err
    assert [f"\n  {part}: " in told for part in ("expected", "got", "remedy")] == [True] * 3, told
    assert not out.exists()
    return told


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["run", "dry run"])
@pytest.mark.parametrize(("given", "message"), BAD_POSITIONS)
def test_positions_that_cannot_be(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], dry: list[str], given: list[str], message: str
) -> None:
    assert f"error: {message}" in refused([*line, *given, *dry], tmp_path / "out", capsys)


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize(
    ("tasks", "message"), [(["0", "0"], "the tasks cannot be told apart"), (["0", "none"], "no split 'none'")]
)
def test_tasks_that_cannot_be(
    line: list[str],
    task_folders: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tasks: list[str],
    message: str,
) -> None:
    twice = ["--tasks", task_folders[0], task_folders[0]] if tasks[1] == "0" else ["--split", tasks[1]]
    assert message in refused([*line, *twice], tmp_path / "out", capsys)


@pytest.fixture
def three(adapters: Callable[..., Path], task_folders: list[str]) -> list[str]:
    """`--points` and `--tasks` of three checkpoints."""
    points = [str(adapters("llama", seed)) for seed in (1, 2, 3)]
    return ["--points", *points, "--tasks", *task_folders, "--quiet"]


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize(
    ("command", "given", "message"),
    [
        ("plane", ["--num-points", "1"], "a grid cannot have 1 lines"),
        ("plane", ["--margin", "nan"], "a grid cannot have a margin of nan"),
        ("matrix", ["--num-points", "1"], "too few points on the path"),
    ],
)
def test_grids_that_cannot_be(
    three: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, given: list[str], message: str
) -> None:
    assert message in refused([command, *three, *given], tmp_path / "out", capsys)


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize(
    ("command", "given", "message"),
    [
        ("fit", ["--num-bends", "17"], "cannot have 17 bends"),
        ("fit", ["--learning-rate", "nan"], "learning_rate cannot be used for a fit"),
        ("fit", ["--train-split", "eval"], "has no split 'eval'"),
        ("autoneb", ["--num-pivots", "-1"], "cannot have -1 bends"),
    ],
)
def test_fits_that_cannot_be(
    adapters: Callable[..., Path],
    task_folders: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    given: list[str],
    message: str,
) -> None:
    ends = ["--start", str(adapters("llama", 1)), "--end", str(adapters("llama", 2))]
    fit = [command, *ends, "--tasks", *task_folders, "--eval-split", "train", "--quiet"]
    assert message in refused([*fit, *given], tmp_path / "out", capsys)


def test_a_model_that_cannot_be_loaded_leaves_no_folder(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused([*line, "--base-model", str(tmp_path / "missing")], tmp_path / "runs" / "out", capsys)
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--choose-on", "none"], "no split 'none'"),
        (["--old-task", "first", "--new-task", "nope"], "there is no trade-off between these tasks"),
        (["--old-task", "first", "--new-task", "first"], "there is no trade-off between these tasks"),
        (["--mixture", "first=1", "nope=1"], "is of tasks that were not measured"),
        (["--mixture", "first=1", "second=1", "--precision", "0.1"], "a mixture of tasks has no precision of its own"),
    ],
)
def test_tasks_that_are_named_and_not_there(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], message: str
) -> None:
    assert message in refused([*line, *given], tmp_path / "out", capsys)


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--radius", "0"], "no grid around the checkpoint"),
        (["--num-points", "1"], "no grid around the checkpoint"),
        (["--seed", "-1"], "no random numbers from this seed"),
        (["--margin", "0.5"], "got: --margin 0.5"),
        (["--space", "factors"], "got: --space factors"),
        (["--path", "some"], "a plane around a checkpoint goes through no others"),
    ],
)
def test_surfaces_that_cannot_be(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], message: str
) -> None:
    around = ["plane", "--around", line[line.index("--start") + 1], *line[line.index("--tasks") : -3], "--quiet"]
    assert message in refused([*around, *given], tmp_path / "out", capsys)


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize("given", [["--radius", "2"], ["--filters", "weights"], ["--seed", "1"]])
def test_settings_of_surfaces_do_nothing_on_planes(
    three: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str]
) -> None:
    told = refused(["plane", *three, *given], tmp_path / "out", capsys)
    assert "these settings do nothing on a plane through points" in told


def test_a_dry_run_counts_both_splits_and_says_what_it_does_not_know(
    line: list[str], task_folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = []
    for source in map(Path, task_folders):
        folder = Path(shutil.copytree(source, tmp_path / source.name))
        shutil.copy(folder / "test.json", folder / "eval.json")
        folders.append(str(folder))
    dry = [*line, "--tasks", *folders, "--dry-run", "--output-dir", str(tmp_path / "out")]
    assert main([*dry, "--choose-on", "eval"]) == 0
    titles = [told for told in capsys.readouterr().out.splitlines() if told.startswith("dry run: ")]
    assert [title.rsplit(", ", 1)[1] for title in titles] == ["test split", "eval split"]
    assert main([*dry, "--precision", "0.1"]) == 0
    assert "note: --precision: a run takes 200 examples" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_a_dry_run_with_a_tolerance_says_that_it_does_not_know(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line, "--tolerance", "0.01", "--dry-run", "--output-dir", str(tmp_path / "out")]) == 0
    assert re.search(r"^points +about 21 \(smooth lines\) *$", capsys.readouterr().out, re.MULTILINE)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("nothing_is_loaded", "one_task_of_the_harness")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--lm-eval-tasks", "no-such-folder"], "remedy: check include_path (--lm-eval-tasks)"),
        (["--lm-eval-t", "0.5", "0.5"], "the positions on the path cannot be used"),
        (["--lm-eval-examples", "0"], "num_examples cannot be used"),
        ([], "own YAML files as include_path (--lm-eval-tasks)"),
    ],
)
def test_benchmarks_that_cannot_be(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], message: str
) -> None:
    assert message in refused([*line, "--lm-eval", "nosuch_task", *given], tmp_path / "out", capsys)


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--confidence", "95"], "no interval of this confidence"),
        (["--num-resamples", "50"], "no interval of this confidence"),
        (["--seed", "-1"], "no random numbers from this seed"),
        (["--absolute-tolerance", "0"], "a profile cannot be resolved to absolute_tolerance=0.0"),
    ],
)
def test_intervals_that_cannot_be(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], message: str
) -> None:
    assert message in refused([*line, *given], tmp_path / "out", capsys)


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize("flags", [("--start", "--end"), ("--points",)])
def test_a_checkpoint_and_itself(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...]
) -> None:
    source = line[line.index("--start") + 1]
    ends = [flags[0], source, *flags[1:], source]
    asked = ["evaluate", *ends, *line[line.index("--tasks") :]]
    assert "there is nothing between a checkpoint and itself" in refused(asked, tmp_path / "out", capsys)


def test_a_copy_of_a_checkpoint_is_evaluated_with_a_note(
    short: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = short[short.index("--start") + 1]
    copy = shutil.copytree(source, tmp_path / "copy")
    asked = ["evaluate", "--points", source, str(copy), *short[short.index("--tasks") :], "--output-dir"]
    for _ in range(2):  # also where it is shown again
        assert main([*asked, str(tmp_path / "out")]) == 0
        assert re.search(r"^note: both ends of .*copy are one point", capsys.readouterr().out, re.MULTILINE)
    assert main([*short, "--output-dir", str(tmp_path / "other")]) == 0
    assert "one point" not in capsys.readouterr().out
