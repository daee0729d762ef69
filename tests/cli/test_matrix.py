"""The command that measures all pairs of checkpoints."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from modeconn.cli.main import main
from modeconn.evaluation.barrier_table import barrier_table
from modeconn.evaluation.multiplicity import holm
from modeconn.runs import read_csv, read_record

pytestmark = pytest.mark.usefixtures("svg_only")


@pytest.fixture
def points(adapters: Callable[..., Path]) -> list[str]:
    return [str(adapters("llama", seed)) for seed in (1, 2, 3)]


@pytest.fixture
def matrix(points: list[str], task_folders: list[str]) -> list[str]:
    """The arguments of a coarse matrix, its output folder left out."""
    return ["matrix", "--points", *points, "--tasks", *task_folders, "--num-points", "3", "--quiet"]


@pytest.mark.usefixtures("all_formats")
def test_a_matrix_leaves_a_complete_run_folder(
    matrix: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([*matrix, "--output-dir", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "minimum spanning tree of saddles" in printed
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    figures = {
        f"figures/{name}.{ending}"
        for name in ("barriers", "intervals", "tree")
        for ending in ("pdf", "svg", "png", "csv")
    }
    tables = {"pairs.csv", "barriers.csv", "profile.csv", "examples.parquet", "tree.csv"}
    assert files == {"run.json"} | tables | figures
    pairs = read_csv(out / "pairs.csv")
    assert list(zip(pairs["start"], pairs["end"], strict=True))[::2] == [
        ("llama-1", "llama-2"),
        ("llama-1", "llama-3"),
        ("llama-2", "llama-3"),
    ]
    assert len(read_csv(out / "profile.csv")) == 3 * 3 * 2
    assert len(read_csv(out / "tree.csv")) == 2 * 2
    record = read_record(out)
    assert record is not None
    assert {"base model", "task second", "adapter llama-2"} <= record.hashes.keys()
    assert main([*matrix, "--output-dir", str(out)]) == 0
    assert capsys.readouterr().out == printed


def test_every_pair_has_an_interval_and_a_test_that_knows_of_the_others(matrix: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main([*matrix, "--output-dir", str(out)]) == 0
    pairs, barriers = read_csv(out / "pairs.csv"), read_csv(out / "barriers.csv")
    expected = barrier_table(read_csv(out / "profile.csv"), pd.read_parquet(out / "examples.parquet"))
    for baseline in ("chord", "mean"):
        own = expected[expected["baseline"] == baseline].set_index(["path", "task"])
        found = pairs.set_index(["path", "task"]).reindex(own.index)
        for name in ("low", "high", "p_holm"):
            assert found[f"{name}_{baseline}"].to_numpy() == pytest.approx(own[name].to_numpy(), abs=1e-9)
        assert own["p_holm"].to_numpy() == pytest.approx(holm(own["p_value"].to_numpy()))
        assert (found[f"low_{baseline}"] <= found[f"barrier_{baseline}"]).all()
    assert len(barriers) == 3 * 2 * 2


def test_an_interrupted_matrix_goes_on(matrix: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import modeconn as mc

    evaluate, calls = mc.AdapterModel.evaluate, []

    def interrupted(self: mc.AdapterModel, *args: object) -> object:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return evaluate(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(mc.AdapterModel, "evaluate", interrupted)
    assert main([*matrix, "--output-dir", str(tmp_path / "halted")]) == 130
    assert main([*matrix, "--output-dir", str(tmp_path / "halted")]) == 0
    assert len(calls) == 1 + 3 + 3  # three checkpoints and three middles, each once, and the one interrupted
    assert main([*matrix, "--output-dir", str(tmp_path / "straight")]) == 0
    for name in ("pairs.csv", "tree.csv", "figures/barriers.svg", "figures/tree.svg"):
        assert (tmp_path / "halted" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


@pytest.mark.parametrize(("pairs", "num_points"), [("all", 3 + 3), ("consecutive", 3 + 2)])
def test_a_dry_run_counts_every_checkpoint_once(
    matrix: list[str], pairs: str, num_points: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*matrix, "--pairs", pairs, "--output-dir", str(tmp_path / "out"), "--dry-run"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("points ")]
    assert line.split() == ["points", str(num_points)]
    assert not (tmp_path / "out").exists()


def test_the_settings_of_intervals_are_followed(
    matrix: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert (
        main([*matrix, "--confidence", "0.8", "--num-resamples", "300", "--seed", "7", "--output-dir", str(out)]) == 0
    )
    assert "80 % intervals" in capsys.readouterr().out
    statistics = {"confidence": 0.8, "num_resamples": 300, "seed": 7}
    expected = barrier_table(read_csv(out / "profile.csv"), pd.read_parquet(out / "examples.parquet"), **statistics)
    found = read_csv(out / "barriers.csv")
    for name in ("low", "high", "p_value"):
        assert found[name].to_numpy() == pytest.approx(expected[name].to_numpy(), rel=1e-6, abs=1e-12)
    assert (found["confidence"] == 0.8).all()


@pytest.mark.parametrize("given", [["--confidence", "95"], ["--num-resamples", "50"], ["--seed", "-1"]])
def test_intervals_that_cannot_be(
    matrix: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str]
) -> None:
    assert main([*matrix, *given, "--output-dir", str(tmp_path / "out")]) == 1
    assert re.search("no interval of this confidence|no random numbers from this seed", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [1, 2])
def test_the_same_checkpoint_makes_no_pair(
    matrix: list[str], points: list[str], number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*matrix, "--points", *[points[0]] * number, "--output-dir", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert f"got: {number} given, 1 different" in told
    assert all(part in told for part in ("there are no pairs to join", "expected: ", "remedy: "))
