"""Settings of `modeconn train` on the command line and in its file."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from modeconn.cli.flags import parse_settings
from modeconn.cli.main import main
from modeconn.cli.train import Settings
from modeconn.runs import read_csv, read_record

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


@pytest.fixture
def command(bases: Callable[[str], Path], task_folders: list[str], tmp_path: Path) -> list[str]:
    """A short training run."""
    short = ["--num-train-epochs", "1", "--output-dir", str(tmp_path / "out"), "--quiet"]
    return ["train", "--base-model", str(bases("llama")), "--tasks", *task_folders, *short]


def test_a_method_and_an_adapter_are_chosen_by_name(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ["--method", "ilora", "--method-options", '{"buffer_size": 8, "decay": 0.9}', "--adapter", "dora"]
    assert main([*command, *chosen, "--rank", "2"]) == 0
    told = capsys.readouterr().out
    assert "backward_transfer" in told
    assert "forgetting" in told
    record = read_record(tmp_path / "out")
    assert record is not None
    assert record.settings["method_options"] == {"buffer_size": 8, "decay": 0.9}
    assert {file.name for file in (tmp_path / "out").iterdir()} >= {
        "after-1-first",
        "after-1-first-fast",
        "losses.jsonl",
    }


def test_cut_prompts_are_told(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--max-length", "8"]) == 0
    told = capsys.readouterr().out
    assert "prompts of first were cut in the middle to fit training (--max-length)" in told
    assert "prompts of second were cut in the middle to fit evaluation (--max-length)" in told


def test_labels_of_which_one_begins_another_can_be_trained(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = tmp_path / "task"
    task.mkdir()
    (task / "task.json").write_text(json.dumps({"labels": ["good", "good cat"]}))
    records = [{"prompt": "the cat is", "answer": answer} for answer in ("good", "good cat")]
    for split in ("train", "test"):
        (task / f"{split}.json").write_text(json.dumps(records))
    arguments = [*command, "--tasks", str(task)]
    assert main(arguments) == 1
    assert "--eval-score-eos" in capsys.readouterr().err
    assert main([*arguments, "--eval-score-eos"]) == 0


def test_a_classifier_of_free_answers_is_refused(
    bases: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = tmp_path / "free"
    task.mkdir()
    (task / "train.json").write_text(json.dumps([{"prompt": "the cat", "answer": "sat"}]))
    arguments = ["--base-model", str(bases("bert")), "--tasks", str(task), "--output-dir", str(tmp_path / "out")]
    assert main(["train", *arguments, "--task-type", "SEQ_CLS"]) == 1
    assert "a classifier cannot be trained on free answers" in capsys.readouterr().err


def test_masked_labels_change_a_classifiers_scores_only(bases: Callable[[str], Path], tmp_path: Path) -> None:
    tables = []
    for name, masked in (("all", []), ("own", ["--mask-labels"])):
        folders = []
        for number, answers in enumerate((("yes", "no"), ("up", "down", "left"))):
            task = tmp_path / f"task-{number}"
            task.mkdir(exist_ok=True)
            (task / "task.json").write_text(json.dumps({"labels": answers}))
            records = [{"prompt": f"the cat is {'big ' * row}", "answer": answers[row % 2]} for row in range(6)]
            for split in ("train", "test"):
                (task / f"{split}.json").write_text(json.dumps(records))
            folders.append(str(task))
        shared = ["--base-model", str(bases("bert")), "--task-type", "SEQ_CLS", "--num-train-epochs", "1", "--quiet"]
        out = tmp_path / name
        assert main(["train", "--tasks", *folders, *shared, *masked, "--output-dir", str(out)]) == 0
        tables.append(read_csv(out / "scores.csv").query("metric == 'loss'")["score"])
    assert (tables[1] < tables[0]).all()  # the other task's classes have no probability
