"""`modeconn evaluate`: as many examples as a precision needs, a t chosen on another split, trade-offs."""

import json
from pathlib import Path

import pandas as pd
import pytest

from modeconn.cli.main import main
from modeconn.evaluation.band_table import band_table
from modeconn.evaluation.barrier_table import barrier_table
from modeconn.evaluation.sequential import evaluate_to_precision
from modeconn.runs import read_csv

pytestmark = pytest.mark.usefixtures("svg_only")


def test_a_t_is_chosen_on_one_split_and_reported_on_the_other(
    with_eval: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([*with_eval, "--choose-on", "eval", "--output-dir", str(out)]) == 0
    assert "t chosen on another split, on the test split" in capsys.readouterr().out
    chosen = read_csv(out / "chosen.csv")
    assert set(chosen["split"]) == {"test"}
    on_eval = tmp_path / "on-eval"
    assert main([*with_eval, "--split", "eval", "--output-dir", str(on_eval)]) == 0
    means = read_csv(on_eval / "profile.csv").groupby("t")["score"].mean()
    assert means[chosen["t"].iloc[0]] == means.max()
    tested = read_csv(out / "profile.csv").set_index(["task", "t"])["score"]
    at_t = chosen.query("quantity == 'at t'").set_index("task")
    assert at_t.loc["first", "value"] == tested["first", at_t.loc["first", "t"]]


def test_a_precision_tells_how_many_examples_it_needed(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([*line, "--precision", "0.5", "--output-dir", str(out)]) == 0
    assert "examples that the precision needed" in capsys.readouterr().out
    looks = read_csv(out / "looks.csv")
    assert set(looks["task"]) == {"first", "second"}
    barriers = read_csv(out / "barriers.csv").query("metric == 'loss' and baseline == 'chord'")
    assert barriers["num_examples"].tolist() == looks.groupby("task")["num_examples"].max().tolist()
    lost = read_csv(out / "lost_examples.csv")
    assert {"task", "status", "prompt", "answer"} <= set(lost.columns)


def test_bands_allow_for_the_looks_and_a_note_says_what_does_not(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(evaluate_to_precision.__kwdefaults__, "num_first", 10)
    out = tmp_path / "out"
    statistics = ["--confidence", "0.9", "--num-resamples", "400", "--seed", "3"]
    assert main([*line, "--precision", "0.5", *statistics, "--output-dir", str(out)]) == 0
    assert capsys.readouterr().out.count("note: the examples were chosen by looking: barriers.csv and bands.csv") == 1
    looks, bands = read_csv(out / "looks.csv"), read_csv(out / "bands.csv")
    (num_looks,) = looks["num_looks"].unique()
    assert num_looks > 1
    assert bands["confidence"].unique().tolist() == pytest.approx([1 - 0.1 / num_looks])
    plain = profile_band_of(out, confidence=0.9)
    own = bands.query("task == 'first' and metric == 'loss'")
    assert (own["high"] - own["low"] > plain["high"].to_numpy() - plain["low"].to_numpy()).all()


def profile_band_of(out: Path, *, confidence: float) -> pd.DataFrame:
    """The band of the first task that knows nothing of the looks."""
    frame, examples = read_csv(out / "profile.csv"), pd.read_parquet(out / "examples.parquet")
    only = [one[one["task"] == "first"] for one in (frame, examples)]
    return band_table(*only, confidence=confidence, seed=3)


def test_the_settings_of_intervals_are_followed(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    statistics = ["--confidence", "0.8", "--num-resamples", "300", "--seed", "7"]
    assert main([*line, *statistics, "--output-dir", str(out)]) == 0
    assert "80 % interval" in capsys.readouterr().out
    frame, examples = read_csv(out / "profile.csv"), pd.read_parquet(out / "examples.parquet")
    expected = barrier_table(frame, examples, confidence=0.8, num_resamples=300, seed=7)
    found = read_csv(out / "barriers.csv").query("metric == 'loss' and baseline in ('chord', 'mean')")
    for name in ("low", "high", "p_value"):
        assert found[name].to_numpy() == pytest.approx(expected[name].to_numpy(), rel=1e-6)
    bands = read_csv(out / "bands.csv").query("metric == 'loss'")
    assert (bands["confidence"] == 0.8).all()
    band = band_table(frame, examples, confidence=0.8, num_resamples=300, seed=7)
    assert bands["high"].to_numpy() == pytest.approx(band["high"].to_numpy(), rel=1e-6)


def test_a_tolerance_in_nats_chooses_the_positions(line: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main([*line, "--absolute-tolerance", "0.5", "--output-dir", str(out)]) == 0
    assert (read_csv(out / "resolution.csv")["tolerance"] == 0.5).all()
    assert read_csv(out / "profile.csv")["t"].nunique() == 21


def test_two_tasks_have_a_trade_off_and_more_only_when_named(
    line: list[str], task_folders: list[str], tmp_path: Path
) -> None:
    third = tmp_path / "third"
    third.mkdir()
    for file in Path(task_folders[0]).iterdir():
        (third / file.name).write_text(file.read_text().replace('"first"', '"third"'))
    three = [*line, "--tasks", *task_folders, str(third), "--num-points", "2"]
    assert main([*three, "--output-dir", str(tmp_path / "a")]) == 0
    assert not (tmp_path / "a" / "figures" / "trade-off.svg").exists()
    named = ["--old-task", "first", "--new-task", "third"]
    assert main([*three, *named, "--output-dir", str(tmp_path / "b")]) == 0
    assert (tmp_path / "b" / "figures" / "trade-off.svg").exists()


def test_lost_examples_have_their_text(evaluated: Path) -> None:
    lost = read_csv(evaluated / "lost_examples.csv")
    examples = pd.read_parquet(evaluated / "examples.parquet")
    for row in lost.to_dict(orient="records"):
        own = examples.query("task == @row['task'] and example == @row['example']").sort_values("t")["score"]
        assert own.iloc[0] == 1
        assert own.min() == 0
        assert "the cat" in row["prompt"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--choose-on", "test"], "a position cannot be chosen and reported on one split"),
        (["--choose-by", "loss"], "got: --choose-by loss alone"),
        (["--choose-on", "train", "--tolerance", "0.1"], "got: --tolerance, --choose-on"),
        (["--precision", "0.1", "--tolerance", "0.1"], "got: --precision, --tolerance"),
        (["--precision", "0.1", "--absolute-tolerance", "0.1"], "got: --precision, --tolerance"),
        (["--old-task", "first"], "a trade-off needs two tasks"),
        (["--precision", "-1"], "precision"),
    ],
)
def test_choices_that_exclude_one_another(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], message: str
) -> None:
    assert main([*line, *given, "--output-dir", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_benchmarks_of_the_harness_stand_beside_the_profile(
    short: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lm_eval", reason="the extra `general` is not installed")
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    records = [
        {"goal": f"the cat {verb}", "sol1": "good", "sol2": "bad", "label": i % 2} for i, verb in enumerate("ab")
    ]
    (folder / "docs.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    where = {"data_files": {"test": str(folder / "docs.jsonl")}, "cache_dir": str(folder / "cache")}
    settings = {
        "task": "own_piqa", "dataset_path": "json", "dataset_kwargs": where, "test_split": "test",
        "output_type": "multiple_choice", "doc_to_text": "question : {{goal}} answer :", "doc_to_target": "label",
        "doc_to_choice": "{{[sol1, sol2]}}", "metric_list": [{"metric": "acc"}], "metadata": {"version": 1.0},
    }  # fmt: skip
    (folder / "own_piqa.yaml").write_text(json.dumps(settings))  # JSON is YAML
    out = tmp_path / "out"
    general = ["--lm-eval", "own_piqa", "--lm-eval-tasks", str(folder), "--lm-eval-t", "0", "1"]
    assert main([*short, *general, "--output-dir", str(out)]) == 0
    assert "lm-evaluation-harness" in capsys.readouterr().out
    scores = read_csv(out / "general.csv")
    assert scores["t"].unique().tolist() == [0.0, 1.0]
    assert set(scores["task"]) == {"own_piqa"}
    assert len(pd.read_parquet(out / "general.parquet")) == 2 * 2
