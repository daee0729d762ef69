"""Benchmarks of the lm-evaluation-harness before training and after each task."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from method_runs import SEQUENCE
from tiny import TARGETS

import modeconn as mc
from modeconn.cli.main import main
from modeconn.continual import train
from modeconn.evaluation.general import general_scores
from modeconn.runs import read_csv

SHORT = {"num_train_epochs": 1, "learning_rate": 2e-2}
NAME = "tiny_choice"


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one task of two choices."""
    pytest.importorskip("lm_eval", reason="the extra `general` is not installed")
    folder = tmp_path_factory.mktemp("benchmarks")
    docs = [{"goal": f"dog {['sat', 'ran'][i % 2]} on", "label": i % 2} for i in range(12)]
    data = folder / "docs.jsonl"
    data.write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    task = {
        "task": NAME,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(folder / "cache")},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "question : {{goal}}\nanswer :",
        "doc_to_target": "label",
        "doc_to_choice": ["good", "a red cat"],
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }
    (folder / f"{NAME}.yaml").write_text(yaml.safe_dump(task))
    return folder


@pytest.fixture(scope="module")
def trained(bases: Callable[[str], Path], benchmarks: Path, tmp_path_factory: pytest.TempPathFactory) -> mc.TrainRun:
    """Two tasks, measured before and after each."""
    folder = tmp_path_factory.mktemp("run") / "run"
    return train(folder, bases("llama"), SEQUENCE, lm_eval=(NAME,), lm_eval_tasks=str(benchmarks), **SHORT)


def test_the_base_and_every_checkpoint_are_measured(
    trained: mc.TrainRun, bases: Callable[[str], Path], benchmarks: Path
) -> None:
    table = read_csv(trained.checkpoints[0].parent / "general.csv")
    assert table["checkpoint"].tolist() == ["base", "after-1-first", "after-2-second"]
    assert set(table["num_examples"]) == {12}
    points = [mc.Adapter.from_pretrained(folder) for folder in trained.checkpoints]
    model = mc.AdapterModel.from_pretrained(bases("llama"))
    expected = general_scores(points, model, [NAME], include_path=benchmarks)
    assert table["score"].tolist()[1:] == expected.frame["score"].tolist()
    samples = pd.read_parquet(trained.checkpoints[0].parent / "general.parquet")
    assert samples.groupby("checkpoint", sort=False).size().tolist() == [12, 12, 12]
    own = samples[samples["checkpoint"] == "after-2-second"]["log_likelihoods"].tolist()
    wanted = expected.samples[expected.samples["path"] == "after-2-second"]["log_likelihoods"].tolist()
    assert [list(one) for one in own] == [list(one) for one in wanted]


def test_the_base_is_the_model_before_training(trained: mc.TrainRun, bases: Callable[[str], Path]) -> None:
    samples = pd.read_parquet(trained.checkpoints[0].parent / "general.parquet")
    found = [list(one) for one in samples[samples["checkpoint"] == "base"]["log_likelihoods"]]
    model = mc.AdapterModel.from_pretrained(bases("llama"))
    task = mc.Task.from_records(
        NAME,
        {"test": [
            {"prompt": f"question : dog {['sat', 'ran'][i % 2]} on\nanswer :", "answer": ["good", "a red cat"][i % 2]}
            for i in range(12)
        ]},
        labels=["good", "a red cat"],
    )  # fmt: skip
    losses, _ = model.score_rows(model.module, model.encode(task))
    assert [-one for pair in found for one in pair] == pytest.approx(losses.tolist(), abs=1e-4)


def test_the_command_prints_the_scores(
    bases: Callable[[str], Path], benchmarks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "first"
    data.mkdir()
    records = [{"prompt": "the cat sat on", "answer": " good"}] * 8
    for split in ("train", "test"):
        (data / f"{split}.json").write_text(json.dumps(records))
    command = ["train", "--base-model", str(bases("llama")), "--tasks", str(data), "--num-train-epochs", "1", "--quiet"]
    chosen = ["--lm-eval", NAME, "--lm-eval-tasks", str(benchmarks), "--lm-eval-examples", "8"]
    assert main([*command, *chosen, "--output-dir", str(tmp_path / "run")]) == 0
    told = capsys.readouterr().out
    assert "lm-evaluation-harness\n" in told
    for checkpoint in ("base", "after-1-first"):
        assert [line.split()[1:3] for line in told.splitlines() if line.split()[:1] == [checkpoint]] == [[NAME, "acc"]]


@pytest.mark.usefixtures("one_task_of_the_harness")
def test_what_cannot_be_measured_is_refused_before_training(
    bases: Callable[[str], Path], benchmarks: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(mc.EvaluationError, match="absent_benchmark"):
        train(run, bases("llama"), SEQUENCE, lm_eval=("absent_benchmark",), lm_eval_tasks=str(benchmarks))
    with pytest.raises(mc.RunError, match="there is no benchmark to be run"):
        train(run, bases("llama"), SEQUENCE, lm_eval_examples=5)
    with pytest.raises(mc.EvaluationError, match="num_examples cannot be used"):
        train(run, bases("llama"), SEQUENCE, lm_eval=(NAME,), lm_eval_tasks=str(benchmarks), lm_eval_examples=0)
    assert not run.exists()


@pytest.mark.parametrize(
    ("family", "adapter", "told"),
    [("bert", "lora", "got: a classifier"), ("llama", "prompt-tuning", "got: prompt-tuning")],
)
def test_checkpoints_that_the_harness_cannot_run_are_not_trained(
    bases: Callable[[str], Path], benchmarks: Path, tmp_path: Path, family: str, adapter: str, told: str
) -> None:
    targets = {"target_modules": TARGETS[family]} if adapter == "lora" else {}
    steps = []
    with pytest.raises(mc.ModeconnError, match=told):
        train(
            tmp_path / "run", bases(family), SEQUENCE, adapter=adapter, progress=lambda *step: steps.append(step),
            lm_eval=(NAME,), lm_eval_tasks=str(benchmarks), **targets,
        )  # fmt: skip
    assert steps == []
