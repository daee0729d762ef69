"""`modeconn fit`: what it leaves, what `evaluate` makes of it, and how it goes on."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file
from two_heads import adapters_of_two_heads, tasks_of_two_heads

from modeconn.adapters import Adapter
from modeconn.cli.main import main
from modeconn.paths import PolygonalChain, load_path
from modeconn.runs import read_csv, read_record

pytestmark = pytest.mark.usefixtures("svg_only")


@pytest.fixture
def fit(adapters: Callable[..., Path], task_folders: list[str]) -> list[str]:
    """The arguments of a short fit, its output folder left out."""
    ends = ["--start", str(adapters("llama", 1)), "--end", str(adapters("llama", 2))]
    short = ["--num-steps", "4", "--eval-steps", "2", "--eval-points", "1", "--learning-rate", "0.01"]
    # The tiny tasks have no validation split of their own.
    return ["fit", *ends, "--tasks", *task_folders, *short, "--eval-split", "train", "--quiet"]


@pytest.mark.parametrize("curve", ["bezier", "chain", "piecewise-bezier"])
def test_a_fit_leaves_a_path_that_evaluate_reads(
    fit: list[str], task_folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], curve: str
) -> None:
    out = tmp_path / "fit"
    bends = ["--num-bends", "3"] if curve == "piecewise-bezier" else []
    assert main([*fit, "--curve", curve, *bends, "--output-dir", str(out)]) == 0
    told = capsys.readouterr().out
    assert "loss at the validation positions, train split, nats; kept is the curve of the lowest objective" in told
    assert "worst of 1" in told
    assert "modeconn evaluate --path" in told
    assert len(read_csv(out / "history.csv")) == 5  # the curve before the fit, and four steps
    assert {file.name for file in (out / "figures").iterdir()} >= {"history.svg", "history.csv"}
    path = load_path(out)
    assert len(path.points) == (5 if bends else 3)
    bend = Adapter.from_pretrained(out / "path" / "point-1")
    assert {update.rank for update in bend.updates.values()} == {8}  # r0 + r1
    assert load_file(out / "path" / "point-1" / "adapter_model.safetensors")
    measured = tmp_path / "measured"
    command = ["evaluate", "--path", str(out), "--tasks", task_folders[0], "--num-points", "3", "--quiet"]
    assert main([*command, "--output-dir", str(measured)]) == 0
    assert set(read_csv(measured / "profile.csv")["path"]) == {path.name}


@pytest.mark.usefixtures("all_formats")
def test_a_finished_fit_is_shown_again(fit: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*fit, "--output-dir", str(tmp_path / "fit")]
    assert main(command) == 0
    first = capsys.readouterr().out
    figures = {file.name for file in (tmp_path / "fit" / "figures").iterdir()}
    assert figures >= {"history.png", "history.pdf", "history.svg"}
    written = (tmp_path / "fit" / "history.csv").stat().st_mtime_ns
    assert main(command) == 0
    assert capsys.readouterr().out == first
    assert (tmp_path / "fit" / "history.csv").stat().st_mtime_ns == written


def test_an_interrupted_fit_goes_on_with_the_same_bits(
    fit: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*fit, "--output-dir", str(tmp_path / "straight")]) == 0
    import modeconn.fitting.run as running

    steps, learning_rate = [], running.learning_rate

    def interrupting(settings: object, step: int) -> float:
        steps.append(step)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return learning_rate(settings, step)

    with monkeypatch.context() as patch:
        patch.setattr(running, "learning_rate", interrupting)
        assert main([*fit, "--output-dir", str(tmp_path / "parts")]) == 130
    record = read_record(tmp_path / "parts")
    assert record is not None
    assert record.status == "interrupted"
    assert main([*fit, "--output-dir", str(tmp_path / "parts")]) == 0
    straight, parts = (load_path(tmp_path / name) for name in ("straight", "parts"))
    assert [point.fingerprint for point in parts.points] == [point.fingerprint for point in straight.points]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--eval-split", "test"], "a split other than test"),
        (["--num-bends", "17"], "bends on one Bezier curve"),
        (["--curve", "piecewise-bezier", "--num-bends", "2"], "an odd number"),
        (["--task-weights", "1"], "2 weights, one a task"),
    ],
)
def test_bad_settings(
    fit: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], told: str
) -> None:
    assert main([*fit, *more, "--output-dir", str(tmp_path / "fit")]) == 1
    assert told in capsys.readouterr().err


def test_autoneb_leaves_a_chain_that_evaluate_reads(fit: list[str], task_folders: list[str], tmp_path: Path) -> None:
    out = tmp_path / "neb"
    short = ["--num-steps", "4", "--num-cycles", "2", "--num-pivots", "1", "--max-pivots", "2"]
    kept = [*fit[1 : fit.index("--num-steps")], "--eval-split", "train", "--quiet", "--learning-rate", "0.01"]
    assert main(["autoneb", *kept, *short, "--output-dir", str(out)]) == 0
    path = load_path(out)
    assert isinstance(path, PolygonalChain)
    assert path.name.startswith("autoneb ")
    assert len(path.points) >= 3
    record = read_record(out)
    assert record is not None
    assert record.command == "autoneb"
    assert record.settings["num_cycles"] == 2
    measured = ["evaluate", "--path", str(out), "--tasks", task_folders[0], "--num-points", "3", "--quiet"]
    assert main([*measured, "--output-dir", str(tmp_path / "measured")]) == 0


def test_a_separator_reaches_the_fit(fit: list[str], tmp_path: Path) -> None:
    task = tmp_path / "task"
    task.mkdir()
    records = [{"prompt": f"the cat {verb}", "answer": "mat"} for verb in ("sat", "ran", "is")]
    (task / "train.json").write_text(json.dumps(records))
    first = fit.index("--tasks") + 1
    command = [*fit[:first], str(task), *fit[first + 2 :]]
    histories = []
    for name, separator in (("blank", []), ("word", ["--separator", " is "])):
        assert main([*command, *separator, "--output-dir", str(tmp_path / name)]) == 0
        histories.append(read_csv(tmp_path / name / "history.csv"))
    assert not histories[0]["loss"].equals(histories[1]["loss"])
    assert not histories[0]["worst_loss"].equals(histories[1]["worst_loss"])


def test_bends_have_the_rank_that_was_asked_for(
    fit: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*fit, "--bend-rank", "3", "--output-dir", str(tmp_path / "fit")]) == 0
    assert "step 0: the line, with bends of rank 3" in capsys.readouterr().out
    bend = Adapter.from_pretrained(tmp_path / "fit" / "path" / "point-1")
    assert {update.rank for update in bend.updates.values()} == {3}


def test_pivots_of_autoneb_hold_both_ends(fit: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = [*fit[1 : fit.index("--num-steps")], "--eval-split", "train", "--quiet", "--learning-rate", "0.01"]
    short = ["--num-steps", "2", "--num-cycles", "1", "--num-pivots", "2", "--max-pivots", "2"]
    command = ["autoneb", *kept, *short]
    assert main([*command, "--bend-rank", "7", "--output-dir", str(tmp_path / "low")]) == 1
    told = capsys.readouterr().err
    assert "expected: a rank of at least 8" in told
    assert "modeconn fit takes bends of any rank" in told
    assert main([*command, "--bend-rank", "10", "--output-dir", str(tmp_path / "high")]) == 0
    pivots = load_path(tmp_path / "high").points[1:-1]
    assert {update.rank for pivot in pivots for update in pivot.updates.values()} == {10}


def test_a_fit_between_two_heads_is_measured_with_each(
    tmp_path: Path,
) -> None:
    two_heads, folders = adapters_of_two_heads(tmp_path), []
    for task in tasks_of_two_heads():
        folder = tmp_path / task.name
        folder.mkdir()
        for split, examples in task.splits.items():
            records = [{"prompt": example.prompt, "answer": example.answer} for example in examples]
            (folder / f"{split}.json").write_text(json.dumps(records))
        (folder / "task.json").write_text(json.dumps({"name": task.name, "labels": task.labels}))
        folders.append(str(folder))
    ends = ["--start", str(two_heads[0].source), "--end", str(two_heads[1].source)]
    short = ["--num-steps", "2", "--eval-points", "1", "--quiet", "--heads", "own", "--mask-labels"]
    out = tmp_path / "fit"
    assert main(["fit", *ends, "--tasks", *folders, *short, "--output-dir", str(out)]) == 0
    assert load_path(out).heads == "own"
    command = ["evaluate", "--path", str(out), "--tasks", *folders, "--split", "eval", "--num-points", "3", "--quiet"]
    assert main([*command, "--mask-labels", "--output-dir", str(tmp_path / "measured")]) == 0
    middle = read_csv(tmp_path / "measured" / "profile.csv").query("t == 0.5")
    history = read_csv(out / "history.csv").dropna(subset=["worst_loss"])
    assert middle["loss"].mean() == pytest.approx(history["worst_loss"].min(), rel=1e-5)
