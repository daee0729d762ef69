"""Settings of `modeconn evaluate`: what each does, what is recorded of it, and where it is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaForSequenceClassification

from modeconn.cli.main import main
from modeconn.runs import read_csv, read_record

pytestmark = pytest.mark.usefixtures("svg_only")


def facts(folder: Path) -> dict:
    record = read_record(folder)
    assert record is not None
    return record.facts


@pytest.fixture
def unlisted(task_folders: list[str], tmp_path: Path) -> Path:
    """The first task with the answers of two test examples, 3 and 5, changed to one that is no label."""
    folder = shutil.copytree(task_folders[0], tmp_path / "unlisted")
    records = json.loads((folder / "test.json").read_text())
    for number in (3, 5):
        records[number]["answer"] = " -"
    (folder / "test.json").write_text(json.dumps(records))
    return folder


def test_answers_outside_the_labels_are_refused_with_the_way_out(
    line: list[str], unlisted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line, "--tasks", str(unlisted), "--output-dir", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert "outside the label set in examples 3, 5" in told
    assert "--unlisted-answers leave-out" in told


def test_examples_left_out_are_counted_and_the_rest_is_evaluated(
    line: list[str], unlisted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, tasks = tmp_path / "out", ["--tasks", str(unlisted), "--unlisted-answers", "leave-out"]
    assert main([*line, *tasks, "--output-dir", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "note: first/test: 2 of 22 examples left out, with other answers than the task's labels" in printed
    assert facts(out)["left_out_examples"] == {"first": {"test": 2}}
    examples = pd.read_parquet(out / "examples.parquet")
    assert sorted(examples["example"].unique()) == list(range(20))  # numbered anew
    assert main([*line, *tasks, "--output-dir", str(out)]) == 0
    assert capsys.readouterr().out == printed


def test_leaving_out_equals_a_file_without_these_examples(line: list[str], unlisted: Path, tmp_path: Path) -> None:
    leave_out = ["--unlisted-answers", "leave-out"]
    assert main([*line, "--tasks", str(unlisted), *leave_out, "--output-dir", str(tmp_path / "a")]) == 0
    records = json.loads((unlisted / "test.json").read_text())
    (unlisted / "test.json").write_text(json.dumps([record for record in records if record["answer"] != " -"]))
    assert main([*line, "--tasks", str(unlisted), "--output-dir", str(tmp_path / "b")]) == 0
    assert (tmp_path / "a" / "profile.csv").read_bytes() == (tmp_path / "b" / "profile.csv").read_bytes()


def test_a_task_that_lacks_nothing_makes_the_same_run_either_way(
    short: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*short, "--output-dir", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert main([*arguments, "--unlisted-answers", "leave-out"]) == 0
    assert "finished before, shown again" in capsys.readouterr().err


@pytest.fixture
def classifiers(bases: Callable[[str], Path], tmp_path: Path) -> list[str]:
    """`--start` and `--end`: two classifiers on a base for texts, which do not record their task type."""
    arguments = []
    for seed, flag in enumerate(["--start", "--end"]):
        torch.manual_seed(seed)
        model = LlamaForSequenceClassification.from_pretrained(bases("llama"), num_labels=3, dtype=torch.float32)
        model.name_or_path = str(bases("llama"))
        config = LoraConfig(r=2, target_modules=["q_proj"], task_type="SEQ_CLS", init_lora_weights=False)
        folder = tmp_path / f"classifier-{seed}"
        get_peft_model(model, config).save_pretrained(str(folder))
        content = json.loads((folder / "adapter_config.json").read_text()) | {"task_type": None}
        (folder / "adapter_config.json").write_text(json.dumps(content))
        arguments += [flag, str(folder)]
    return arguments


def test_the_task_type_can_be_given_where_adapters_record_none(
    short: list[str], classifiers: list[str], tmp_path: Path
) -> None:
    labels = ["--labels", " good", " bad", " maybe"]
    assert main([*short, *classifiers, *labels, "--output-dir", str(tmp_path / "out")]) == 1
    given = [*short, *classifiers, *labels, "--task-type", "SEQ_CLS", "--output-dir", str(tmp_path / "out")]
    assert main(given) == 0
    frame = read_csv(tmp_path / "out" / "profile.csv")
    assert (frame["num_tokens"] == frame["num_examples"]).all()  # one class a text


@pytest.mark.parametrize(
    ("given", "setting"),
    [
        (["--mask-labels"], "mask_labels (--mask-labels)"),
        (["--labels", "a", "b"], "labels (--labels)"),
    ],
)
def test_settings_of_classifiers_are_refused_for_other_models(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], setting: str
) -> None:
    assert main([*line, *given, "--output-dir", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == (
        f"error: {setting} cannot be followed: the model has no classes\n"
        "  expected: a sequence classifier (SEQ_CLS)\n"
        "  got: a model of the kind CAUSAL_LM\n"
        f"  remedy: leave {setting} out, or give task_type (--task-type) SEQ_CLS if the adapters are a classifier's\n"
    )
    assert not (tmp_path / "out").exists()


def test_how_examples_became_tokens_is_recorded_in_full(short: list[str], tmp_path: Path) -> None:
    given = ["--score-eos", "--separator", "\n", "--token-budget", "512", "--max-length", "40"]
    assert main([*short, *given, "--output-dir", str(tmp_path / "out")]) == 0
    assert facts(tmp_path / "out")["encoding"] == {
        "max_length": 40,
        "score_eos": True,
        "all_choices": True,
        "token_budget": 512,
        "mask_labels": False,
        "separator": "\n",
        "generate": True,
    }


def test_the_length_that_the_model_sets_is_recorded(evaluated: Path, bases: Callable[[str], Path]) -> None:
    config = json.loads((bases("llama") / "config.json").read_text())
    assert facts(evaluated)["encoding"]["max_length"] == config["max_position_embeddings"]


def test_another_base_than_the_adapters_name_is_remarked_on_and_recorded(
    short: list[str], bases: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = shutil.copytree(bases("llama"), tmp_path / "moved")
    arguments = [*short, "--base-model", str(moved), "--output-dir", str(tmp_path / "out")]
    notes = [f"base named by the adapter llama-{seed}: {bases('llama')}; used: {moved}" for seed in (1, 2)]
    assert main(arguments) == 0
    assert capsys.readouterr().err == "".join(f"note: {note}\n" for note in notes)
    assert facts(tmp_path / "out")["notes"] == notes


def test_points_that_share_a_batch_have_the_numbers_of_points_alone(short: list[str], tmp_path: Path) -> None:
    tables, records = [], []
    for count in ("1", "2"):
        out = tmp_path / count
        assert main([*short, "--points-per-batch", count, "--output-dir", str(out)]) == 0
        tables.append(read_csv(out / "profile.csv"))
        records.append(read_record(out))
    assert tables[1]["loss"].to_numpy() == pytest.approx(tables[0]["loss"].to_numpy(), rel=1e-5)
    told = ["together_as_alone_within" in str(record and record.facts["checks"]) for record in records]
    assert told == [False, True]


def test_a_tolerance_chooses_the_positions_and_is_reported(
    line: list[str], task_folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([*line, "--tasks", task_folders[0], "--tolerance", "0.01", "--output-dir", str(out)]) == 0
    resolution = read_csv(out / "resolution.csv")
    positions = read_csv(out / "profile.csv")["t"]
    assert resolution["resolved"].all()
    assert resolution["num_evaluations"].iloc[0] == len(positions)
    assert positions.diff().dropna().round(6).nunique() > 1  # Chebyshev nodes, not a grid
    assert "how well the positions resolve the mean loss" in capsys.readouterr().out
