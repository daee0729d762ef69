"""Task.load: folders and files of every form, and what it says of bad ones."""

import csv
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeconn.errors import TaskError
from modeconn.tasks import Example, Task

RECORDS = [{"prompt": "1 + 1 =", "answer": " 2"}, {"prompt": "2 + 2 =", "answer": " 4"}]
EXAMPLES = (Example("1 + 1 =", " 2"), Example("2 + 2 =", " 4"))


def write(path, content):
    """Write text as it is, records in the form of the suffix, and anything else as JSON."""
    path.parent.mkdir(exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path.write_text(content, encoding="utf-8", newline="")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in content), encoding="utf-8")
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, content[0])
            writer.writeheader()
            writer.writerows(content)
    else:
        path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path):
    """A folder to be filled, called `sums`."""
    path = tmp_path / "sums"
    path.mkdir()
    return path


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv"])
def test_a_folder_gives_its_splits(folder, suffix):
    for split in ("train", "eval", "test"):
        write(folder / f"{split}{suffix}", RECORDS)
    task = Task.load(folder)
    assert task == Task("sums", {"train": EXAMPLES, "eval": EXAMPLES, "test": EXAMPLES})


@pytest.mark.parametrize("name", ["eval", "validation", "valid", "val", "dev"])
def test_eval_has_other_usual_names(folder, name):
    write(folder / f"{name}.json", RECORDS)
    assert list(Task.load(str(folder)).splits) == ["eval"]


def test_settings_come_from_task_json(folder):
    write(folder / "test.json", [{"prompt": "p", "answer": " no"}])
    declared = {"name": "quiz", "labels": [" yes", " no"], "metric": "exact_match", "source": "school", "note": 1}
    write(folder / "task.json", declared)
    task = Task.load(folder)
    assert (task.name, task.labels, task.metric, task.source) == ("quiz", (" yes", " no"), "exact_match", "school")


def test_null_settings_are_absent_ones(folder):
    write(folder / "test.json", RECORDS)
    write(folder / "task.json", {"name": None, "labels": None, "metric": None, "source": None})
    assert Task.load(folder) == Task("sums", {"test": EXAMPLES})


def test_arguments_win_over_task_json(folder):
    write(folder / "test.json", [{"prompt": "p", "answer": "no"}])
    write(folder / "task.json", {"name": "quiz", "labels": ["ja", "nein"], "metric": "accuracy"})
    task = Task.load(folder, name="other", labels=["yes", "no"], metric="exact_match")
    assert (task.name, task.labels, task.metric) == ("other", ("yes", "no"), "exact_match")


def test_label_indices_point_into_the_labels_of_task_json(folder):
    write(folder / "task.json", {"labels": ["good", "bad"]})
    write(folder / "train.json", [{"text": "a", "label": 1}])
    write(folder / "test.csv", "text,label\na,1\nb,good\n")
    task = Task.load(folder)
    assert task.split("train") == (Example("a", "bad"),)
    assert task.split("test") == (Example("a", "bad"), Example("b", "good"))


def test_csv_cells_are_words_and_never_missing(folder):
    path = write(folder / "words.csv", "text,label\nNA,null\nnan,None\n007,1.50\n")
    answers = [(example.prompt, example.answer) for example in Task.load(path).split("test")]
    assert answers == [("NA", "null"), ("nan", "None"), ("007", "1.50")]


def test_a_single_file_is_the_test_split(folder):
    assert Task.load(write(folder / "train.json", RECORDS)) == Task("train", {"test": EXAMPLES})


def test_splits_can_be_chosen_from_a_folder(folder):
    write(folder / "holdout.csv", RECORDS)
    write(folder / "train.json", "broken, but not asked for")
    assert Task.load(folder, splits={"test": "holdout"}) == Task("sums", {"test": EXAMPLES})


def test_a_byte_order_mark_is_left_out(folder):
    write(folder / "train.csv", "\ufefftext,label\na,x\n")
    write(folder / "test.json", "\ufeff" + json.dumps([{"text": "a", "label": "x"}]))
    task = Task.load(folder)
    assert task.split("train") == task.split("test") == (Example("a", "x"),)


def test_json_lines_may_hold_line_separators_and_blank_lines(folder):
    path = write(folder / "test.jsonl", '{"prompt": "a\u2028b", "answer": "c"}\r\n\n{"prompt": "d", "answer": "e"}')
    assert Task.load(path).split("test") == (Example("a\u2028b", "c"), Example("d", "e"))


def test_a_local_path_wins_over_the_hub(folder, monkeypatch):
    write(folder / "test.json", RECORDS)
    monkeypatch.chdir(folder.parent.parent)
    task = Task.load(f"{folder.parent.name}/sums")  # has the form owner/name, and sockets are blocked
    assert task.split("test") == EXAMPLES


def test_the_folder_here_gives_its_name(folder, monkeypatch):
    write(folder / "test.json", RECORDS)
    monkeypatch.chdir(folder)
    assert Task.load(".").name == "sums"


WORDS = st.text(min_size=1).filter(str.strip)
SPLITS = st.dictionaries(
    st.sampled_from(["train", "eval", "test"]), st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4), min_size=1
)


@pytest.mark.parametrize("columns", [("prompt", "answer"), ("text", "label")])
@settings(max_examples=60, deadline=None)
@given(splits=SPLITS)
def test_every_format_reads_back_the_same(columns, splits):
    if columns[1] == "label":  # the label set is that of the train split, so one label must do
        splits = {split: [(prompt, "ä,\n\"'") for prompt, _ in pairs] for split, pairs in splits.items()}
    labels = ("ä,\n\"'",) if columns[1] == "label" else None
    expected = Task("t", {split: [Example(*pair) for pair in pairs] for split, pairs in splits.items()}, labels)
    for suffix in (".json", ".jsonl", ".csv"):
        with tempfile.TemporaryDirectory() as folder:
            for split, pairs in splits.items():
                records = [dict(zip(columns, pair, strict=True)) for pair in pairs]
                write(Path(folder) / f"{split}{suffix}", records)
            task = Task.load(folder, name="t")
        assert task == expected
        assert task.fingerprint == expected.fingerprint


def sizes(task):
    """The number of labels, and of the examples of each split."""
    return len(task.labels), *(len(task.split(name)) for name in ("train", "eval", "test"))


def test_the_real_tasks_load(real_tasks_folder):
    names = [path.name for path in real_tasks_folder.iterdir() if path.name != "mnli"]
    tasks = [Task.load(real_tasks_folder / name) for name in names]
    assert {task.metric for task in tasks} == {"accuracy"}
    assert {task.name: sizes(task) for task in tasks} == {
        "agnews": (4, 2000, 500, 500),
        "amazon": (5, 2000, 500, 500),
        "boolq": (2, 1667, 500, 500),
        "cb": (3, 248, 26, 27),
        "qqp": (2, 2000, 500, 500),
        "rte": (2, 1964, 137, 138),
        "sst2": (2, 2000, 436, 436),
    }


def test_real_answers_outside_the_labels_are_told(real_tasks_folder):
    # In mnli " -" stands for pairs on which the annotators did not agree; task.json does not list it.
    folder = real_tasks_folder / "mnli"
    with pytest.raises(
        TaskError, match=r"cannot use 6 of the 500 examples of .*eval.json\n.*\n.*'answer' is ' -', out"
    ):
        Task.load(folder)
    assert sizes(Task.load(folder, labels=[" entailment", " neutral", " contradiction", " -"])) == (4, 2000, 500, 500)
