"""Task.load on files that cannot be read: the message says which, where and what to do."""

import re

import pytest

from modeconn.errors import TaskError
from modeconn.tasks import Task

GOOD = '[{"prompt": "p", "answer": "a"}]'


@pytest.fixture
def folder(tmp_path):
    """A folder to be filled."""
    path = tmp_path / "quiz"
    path.mkdir()
    return path


def fails(path, *parts, **settings):
    """Loading must fail, and the message hold these parts in this order."""
    with pytest.raises(TaskError, match="(?s)" + ".*".join(map(re.escape, parts))):
        Task.load(path, **settings)


def test_a_missing_path(folder):
    path = folder / "nothing"
    fails(path, f"cannot find the task {path}", "or the id of a hub data set", "got: no such file or folder")


def test_a_missing_path_of_text_that_is_no_hub_id():
    fails("no/such/folder", "cannot find the task no/such/folder", "remedy: check the path")


def test_a_mistyped_name_in_a_folder_that_is_here_is_no_hub_id(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    fails("quiz/tset", "cannot find the task quiz/tset", "nothing of that name in the folder quiz", "in another folder")


def test_an_empty_folder(folder):
    fails(folder, f"the folder {folder} holds no task", ".json, .jsonl, .csv", "got: an empty folder")


def test_a_folder_without_data_files(folder):
    (folder / "task.json").write_text("{}")
    (folder / "train.parquet").touch()
    fails(folder, f"the folder {folder} holds no task", "got: the files task.json, train.parquet")


def test_a_folder_without_a_usual_split(folder):
    (folder / "data.json").write_text(GOOD)
    fails(folder, f"splits of the folder {folder}", "train, eval and test", "got: 'data.json'", "splits={'train'")


def test_a_chosen_split_that_is_not_there(folder):
    (folder / "train.json").write_text(GOOD)
    chosen = {"train": "train", "test": "holdout"}
    fails(folder, "cannot find the splits", "expected: 'holdout'", "got: 'train.json'", splits=chosen)


def test_a_choice_of_an_unknown_split(folder):
    (folder / "train.json").write_text(GOOD)
    fails(folder, "splits of splits=", "'eval', 'test', 'train'", "got: 'dev'", splits={"dev": "train"})


@pytest.mark.parametrize("other", ["eval.jsonl", "eval.csv", "dev.json"])
def test_two_files_for_one_split(folder, other):
    (folder / "eval.json").write_text(GOOD)
    (folder / other).write_text(GOOD)
    names = ", ".join(sorted(["eval.json", other]))
    fails(folder, f"cannot tell the eval split of the folder {folder}", f"got: {names}", "remedy: remove all but one")


def test_one_of_two_files_can_be_chosen_by_its_name(folder):
    (folder / "eval.json").write_text(GOOD)
    (folder / "eval.csv").write_text("broken")
    assert len(Task.load(folder, splits={"eval": "eval.json"}).split("eval")) == 1


def test_an_unknown_suffix(folder):
    path = folder / "test.parquet"
    path.touch()
    fails(path, f"cannot read {path}", ".json, .jsonl, .csv", "got: the suffix '.parquet'")


@pytest.mark.parametrize(
    ("name", "text", "got"),
    [
        ("test.json", "", "an empty file"),
        ("test.json", "\ufeff \n", "an empty file"),
        ("test.jsonl", "\n\n", "an empty file"),
        ("test.csv", "", "an empty file"),
        ("test.json", "[]", "no examples"),
        ("test.csv", "prompt,answer\n", "no examples"),
    ],
)
def test_a_file_without_examples(folder, name, text, got):
    (folder / name).write_text(text, encoding="utf-8")
    fails(folder, f"{folder / name} holds no examples", "one example or more", f"got: {got}")


@pytest.mark.parametrize(
    ("name", "text", "got"),
    [
        ("test.json", '[{"prompt": "p",\n]', "not JSON in line 2, column 1: Expecting property name"),
        ("test.json", '{"prompt": "p", "answer": "a"}', "a value of type dict"),
        ("test.json", '"text"', "a value of type str"),
        ("test.json", "[" * 100_000, "not JSON in line 1"),
        ("test.json", "9" * 5000, "not JSON in line 1"),
        ("test.jsonl", '{"prompt": "p", "answer": "a"}\n\n{"prompt": ', "not JSON in line 3, column"),
        ("test.jsonl", '{"prompt": "p", "answer": "a"}\n["p", "a"]', "a value of type list in line 2"),
        ("test.csv", "prompt,answer\np,a,x\n", "Expected 2 fields in line 2, saw 3"),
        ("test.csv", 'prompt,answer\n"p,a\n', "EOF inside string"),
        ("test.csv", "prompt,answer,answer\np,a,b\n", "the column 'answer' more than once"),
    ],
)
def test_a_file_that_is_not_of_its_form(folder, name, text, got):
    (folder / name).write_text(text)
    fails(folder, f"cannot read {folder / name}\n", f"got: {got}")


def test_json_lines_under_the_name_of_json(folder):
    line = '{"prompt": "p", "answer": "a"}\n'
    (folder / "test.json").write_text(line * 2)
    fails(folder, "not JSON in line 2", "remedy: call it .jsonl if each line is an object")


@pytest.mark.parametrize("name", ["test.json", "test.jsonl", "test.csv", "task.json"])
def test_text_that_is_not_utf_8(folder, name):
    (folder / "eval.json").write_text(GOOD)
    (folder / name).write_bytes("äh".encode() + b"\xff")
    fails(folder, f"cannot read {folder / name}", "text in UTF-8", "got: byte 0xff at byte offset 3", "save the file")


def test_faulty_examples_name_the_file(folder):
    path = folder / "test.json"
    path.write_text('[{"prompt": "p", "answer": "a"}, {"prompt": "p"}, {"prompt": "p"}]')
    fails(folder, f"cannot use 2 of the 3 examples of {path}", "'answer' is missing in examples 1, 2 (counted from 0)")


def test_a_short_csv_row_lacks_its_answer(folder):
    path = folder / "test.csv"
    path.write_text("prompt,answer\np,a\nq\n")
    fails(path, f"cannot use 1 of the 2 examples of {path}", "'answer' is blank in example 1")


def test_unknown_columns_name_the_file(folder):
    path = folder / "test.csv"
    path.write_text("prompt;answer\np;a\n")
    fails(path, f"cannot find the columns of {path}", "got: the columns 'prompt;answer'")


def test_labels_outside_the_set_name_file_label_and_place(folder):
    (folder / "task.json").write_text('{"labels": ["yes", "no"]}')
    (folder / "train.json").write_text('[{"prompt": "p", "answer": "no"}, {"prompt": "p", "answer": "maybe"}]')
    fails(folder, f"1 of the 2 examples of {folder / 'train.json'}", "'no', 'yes'", "is 'maybe'", "in example 1")


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ('{"labels": ["yes", "no", "yes"]}', "got: 'yes' more than once"),
        ('{"labels": "yes"}', "got: a value of type str"),
        ('{"labels": {"0": "no"}}', "got: a value of type dict"),
        ('{"labels": []}', "got: an empty list"),
        ('{"labels": ["yes", 1]}', "got: 1"),
        ('{"name": 3, "source": ["a"]}', "got: name of type int, source of type list"),
        ('{"metric": false}', "got: metric of type bool"),
        ("[]", "got: a value of type list"),
        ("{", "got: not JSON in line 1"),
    ],
)
def test_settings_of_a_wrong_type_name_task_json(folder, text, got):
    (folder / "test.json").write_text(GOOD)
    (folder / "task.json").write_text(text)
    fails(folder, str(folder / "task.json"), got)


def test_an_unknown_metric(folder):
    (folder / "test.json").write_text(GOOD)
    (folder / "task.json").write_text('{"metric": "bleu"}')
    fails(folder, "cannot score the task 'quiz'", "metrics accuracy, edit_similarity, exact_match", "got: 'bleu'")


def test_a_folder_in_the_place_of_a_file(folder):
    (folder / "test.json").write_text(GOOD)
    (folder / "task.json").mkdir()
    fails(folder, f"cannot read {folder / 'task.json'}", "got: Is a directory", "permissions")
