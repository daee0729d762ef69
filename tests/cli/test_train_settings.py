"""Settings of `modeconn train` on the command line and in its file."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from modeconn.cli.flags import parse_settings
from modeconn.cli.main import main
from modeconn.cli.train import Settings
from modeconn.runs import read_record

NEEDED = ["--base-model", "owner/base", "--tasks", "a", "b", "--output-dir", "out"]


def parsed(*arguments: str) -> Settings:
    return parse_settings(Settings, [*NEEDED, *arguments], prog="modeconn train", description="")


def test_flags_take_one_value_for_all_tasks_or_one_a_task() -> None:
    settings = parsed("--num-train-epochs", "5", "3", "--learning-rate", "1e-4")
    assert (settings.num_train_epochs, settings.learning_rate) == ((5, 3), (1e-4,))


@pytest.mark.parametrize(
    ("text", "epochs", "rates"),
    [
        ("num_train_epochs: 5\nlearning_rate: 1e-4\n", (5,), (1e-4,)),
        ("num_train_epochs: [5, 3]\nlearning_rate: [1e-4, 2.0e-4]\n", (5, 3), (1e-4, 2e-4)),
    ],
)
def test_the_file_takes_a_number_or_a_list(
    tmp_path: Path, text: str, epochs: tuple[int, ...], rates: tuple[float, ...]
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    settings = parsed("--config", str(file))
    assert (settings.num_train_epochs, settings.learning_rate) == (epochs, rates)


def test_a_count_that_is_not_the_tasks_ends_with_1_and_names_both(
    task_folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    wrong = ["--tasks", *task_folders, "--num-train-epochs", "1", "2", "3", "--output-dir", str(out)]
    assert main(["train", "--base-model", "owner/base", *wrong]) == 1
    told = capsys.readouterr().err
    assert "expected: one value, or 2: one a task\n  got: 1 2 3\n" in told
    assert not out.exists()


def test_examples_left_out_are_counted_in_print_and_record(
    bases: Callable[[str], Path], task_folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = shutil.copytree(task_folders[0], tmp_path / "task")
    for split, numbers in (("train", (0, 1)), ("test", (4,))):
        records = json.loads((task / f"{split}.json").read_text())
        for number in numbers:
            records[number]["answer"] = " -"
        (task / f"{split}.json").write_text(json.dumps(records))
    fast = ["--num-train-epochs", "1", "--rank", "2", "--target-modules", "q_proj", "--quiet"]
    given = ["--base-model", str(bases("llama")), "--tasks", str(task), "--output-dir", str(tmp_path / "out")]
    assert main(["train", *given, *fast]) == 1
    assert "--unlisted-answers leave-out" in capsys.readouterr().err
    assert main(["train", *given, *fast, "--unlisted-answers", "leave-out"]) == 0
    printed = capsys.readouterr().out
    assert "note: first/train: 2 of 24 examples left out" in printed
    assert "note: first/test: 1 of 22 examples left out" in printed
    record = read_record(tmp_path / "out")
    assert record is not None
    assert record.facts["left_out_examples"] == {"first": {"train": 2, "test": 1}}
