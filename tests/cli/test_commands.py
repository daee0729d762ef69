import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from modeconn.cli.main import main
from modeconn.runs import read_csv, read_record

pytestmark = pytest.mark.usefixtures("svg_only")


@pytest.mark.usefixtures("all_formats")
def test_evaluate_leaves_a_complete_run_folder(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([*line, "--output-dir", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "loss barrier (chord)" in printed
    assert "space=weights" in printed
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    names = ("profile", "barriers", "trade-off", "examples")
    figures = {f"figures/{name}.{ending}" for name in names for ending in ("pdf", "svg", "png", "csv")}
    tables = {"profile.csv", "examples.parquet", "barriers.csv", "bands.csv", "lost_examples.csv"}
    assert files == {"run.json"} | tables | figures
    frame = read_csv(out / "profile.csv")
    assert len(frame) == 2 * 3
    assert len(pd.read_parquet(out / "examples.parquet")) == 2 * 3 * 22
    assert len(read_csv(out / "barriers.csv")) == 2 * 2 * 5  # tasks, loss and error, definitions
    record = read_record(out)
    assert record is not None
    assert record.status == "finished"
    assert {"base model", "task first", "task second", "adapter llama-1", "adapter llama-2"} <= record.hashes.keys()
    assert record.settings["num_points"] == 3


def test_a_finished_evaluation_is_shown_not_repeated(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*line, "--output-dir", str(tmp_path / "out")]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    monkeypatch.setattr("modeconn.models.adapter_model.load_base", None)  # calling it would fail
    assert main(arguments) == 0
    again = capsys.readouterr()
    assert again.out == first
    assert again.err == f"finished before, shown again: {tmp_path / 'out'}\n"


def test_a_trailing_slash_makes_no_other_run(
    short: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--output-dir", str(tmp_path / "out")]
    assert main([*short, *out]) == 0
    assert main([f"{part}/" if Path(part).is_dir() else part for part in short] + out) == 0
    assert "finished before, shown again" in capsys.readouterr().err


def test_an_interrupted_evaluation_goes_on_and_equals_a_straight_one(
    line: list[str], evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import modeconn as mc

    evaluate, calls = mc.AdapterModel.evaluate, []

    def interrupted(self: mc.AdapterModel, *args: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(mc.AdapterModel, "evaluate", interrupted)
    assert main([*line, "--output-dir", str(tmp_path / "halted")]) == 130
    assert not (tmp_path / "halted" / "profile.csv").exists()
    assert main([*line, "--output-dir", str(tmp_path / "halted")]) == 0
    assert len(calls) == 2 + 2  # the first point was kept
    for name in ("profile.csv", "barriers.csv", "figures/profile.svg"):
        assert (tmp_path / "halted" / name).read_bytes() == (evaluated / name).read_bytes()


def test_a_dry_run_writes_nothing(line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*line, "--output-dir", str(tmp_path / "out"), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "examples" in printed
    assert "MiB" in printed
    assert not (tmp_path / "out").exists()


def test_positions_and_space_can_be_given(short: list[str], tmp_path: Path) -> None:
    chosen = ["--t", "0", "0.1", "1", "--space", "factors", "--output-dir", str(tmp_path / "out")]
    assert main([*short, *chosen]) == 0
    frame = read_csv(tmp_path / "out" / "profile.csv")
    assert sorted(frame["t"].unique()) == [0, 0.1, 1]
    assert set(frame["space"]) == {"factors"}


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--num-points", "1"], "too few points on the path"),
        (["--t", "0", "0.5", "0.5", "1"], "not increasing"),
        (["--split", "eval"], "has no split 'eval'"),
        (["--base-model", "no/such-base"], "cannot load the base model"),
        (["--start", "no-such-adapter"], "cannot read the adapter"),
        (["--tasks", "no-such-task"], "no-such-task"),
    ],
)
def test_bad_input_ends_with_1_and_four_parts_and_the_corrected_command_runs(
    short: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str], message: str
) -> None:
    out = tmp_path / "out"
    assert main([*short, "--output-dir", str(out), *extra]) == 1
    told = capsys.readouterr().err
    assert message in told
    assert all(part in told for part in ("expected: ", "got: ", "remedy: "))
    assert "Traceback" not in told
    assert not (out / "profile.csv").exists()
    assert main([*short, "--output-dir", str(out)]) == 0
    assert (out / "profile.csv").exists()


def test_an_adapter_of_another_base_is_refused(
    line: list[str], bases: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line, "--output-dir", str(tmp_path / "out"), "--base-model", str(bases("gpt2"))]) == 1
    told = capsys.readouterr().err
    assert "does not fit the base model" in told
    assert "model.layers.0.self_attn.q_proj.weight" in told


def test_another_run_in_the_folder_is_refused(
    short: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--output-dir", str(tmp_path / "out")]
    assert main([*short, *out]) == 0
    before = (tmp_path / "out" / "profile.csv").read_bytes()
    assert main([*short, *out, "--num-points", "4"]) == 1
    told = capsys.readouterr().err
    assert "holds another run" in told
    assert "num_points" in told
    assert (tmp_path / "out" / "profile.csv").read_bytes() == before
    assert main([*short, *out, "--num-points", "4", "--overwrite"]) == 0
    assert read_csv(tmp_path / "out" / "profile.csv")["t"].nunique() == 4


@pytest.mark.parametrize("flag", ["--start", "--end", "--tasks", "--base-model"])
def test_an_output_folder_with_an_input_is_never_written(
    line: list[str],
    flag: str,
    bases: Callable[[str], Path],
    task_folders: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = {"--start": line[2], "--end": line[4], "--tasks": task_folders[0], "--base-model": bases("llama")}
    moved = shutil.copytree(given[flag], tmp_path / "out" / "input")
    before = sorted(path.name for path in moved.iterdir())
    assert main([*line, flag, str(moved), "--output-dir", str(tmp_path / "out"), "--overwrite"]) == 1
    assert "holds nothing that the run reads" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["input"]
    assert sorted(path.name for path in moved.iterdir()) == before


def test_an_adapter_that_changed_since_makes_another_run(
    short: list[str], adapters: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = shutil.copytree(adapters("llama", 1), tmp_path / "end")
    arguments = [*short, "--end", str(moved), "--output-dir", str(tmp_path / "out")]
    assert main(arguments) == 0
    shutil.copy(adapters("llama", 2) / "adapter_model.safetensors", moved)
    assert main(arguments) == 1
    assert "adapter end" in capsys.readouterr().err


def test_train_prints_the_score_matrix_and_evaluate_takes_its_checkpoints(
    bases: Callable[[str], Path], task_folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "seq"
    settings = ["--num-train-epochs", "1", "--rank", "2", "--quiet", "--target-modules", "q_proj"]
    train = ["train", "--base-model", str(bases("llama")), "--tasks", *task_folders, "--output-dir", str(out)]
    assert main([*train, *settings]) == 0
    captured = capsys.readouterr()
    assert "score matrix" in captured.out
    assert captured.err == ""
    assert main([*train, *settings]) == 0
    assert capsys.readouterr() == (captured.out, f"finished before, shown again: {out}\n")
    scores = read_csv(out / "scores.csv")
    assert list(scores.columns) == ["method", "adapter", "seed", "after_task", "task", "metric", "score"]
    assert len(scores) == 3 * 2 * 2
    ends = ["--start", str(out / "after-1-first"), "--end", str(out / "after-2-second")]
    evaluate = ["evaluate", *ends, "--tasks", *task_folders, "--num-points", "2", "--quiet"]
    assert main([*evaluate, "--output-dir", str(out), "--overwrite"]) == 1  # not over its own inputs
    assert (out / "after-1-first").is_dir()
    assert main([*evaluate, "--output-dir", str(tmp_path / "line")]) == 0
    frame = read_csv(tmp_path / "line" / "profile.csv").set_index(["task", "t"])["loss"]
    losses = scores.query("metric == 'loss'").set_index(["task", "after_task"])["score"]
    assert frame["second", 1.0] == losses["second", 2]
    assert frame["first", 0.0] == losses["first", 1]
