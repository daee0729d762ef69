"""Answers outside the label set: refused, or left out and noted."""

import json
import pickle

import pytest

from modeconn.errors import TaskError
from modeconn.tasks import Example, Task

RECORDS = [{"prompt": str(number), "answer": answer} for number, answer in enumerate(["yes", "-", "no", "-", "yes"])]
LEFT = (Example("0", "yes"), Example("2", "no"), Example("4", "yes"))


def load(records=RECORDS, *, labels=("yes", "no"), unlisted="leave-out"):
    return Task.from_records("quiz", {"test": records}, labels=labels, unlisted=unlisted)


def test_by_default_they_are_an_error_that_names_the_way_out():
    with pytest.raises(TaskError, match=r"'answer' is '-', outside the label set in examples 1, 3") as told:
        load(unlisted="error")
    assert 'unlisted="leave-out" (--unlisted-answers leave-out)' in told.value.remedy


def test_left_out_examples_are_gone_and_their_numbers_are_kept():
    task = load()
    assert task.split("test") == LEFT
    assert task.left_out == {"test": (1, 3)}


@pytest.mark.parametrize("index", [-1, 2, "-1"])
def test_an_index_outside_the_labels_is_left_out_too(index):
    task = load([{"text": "a", "label": 1}, {"text": "b", "label": index}])
    assert (task.split("test"), task.left_out) == ((Example("a", "no"),), {"test": (1,)})


@pytest.mark.parametrize("labels", [("yes", "no", "-"), None])
def test_a_task_that_lacks_nothing_is_the_same_task_either_way(labels):
    assert load(labels=labels) == load(labels=labels, unlisted="error")
    assert load(labels=labels).fingerprint == load(labels=labels, unlisted="error").fingerprint
    assert load(labels=labels).left_out == {}


def test_a_task_with_examples_left_out_is_another_one():
    whole = Task("quiz", {"test": LEFT}, labels=("yes", "no"))
    assert load() != whole
    assert load().fingerprint != whole.fingerprint
    assert load(RECORDS[:3]).fingerprint != load([RECORDS[1], RECORDS[0], RECORDS[2]]).fingerprint


def test_other_faults_are_told_by_their_places_in_the_file():
    with pytest.raises(TaskError, match=r"cannot use 1 of the 6 examples") as told:
        load([*RECORDS, {"prompt": "p", "answer": " "}])
    assert told.value.got == "'answer' is blank in example 5 (counted from 0)"


def test_a_split_of_which_nothing_is_left_is_refused():
    parts = (
        r"^no example of the test split of the task 'quiz' is left\n"
        r"  expected: an example with an answer in the label set 'Yes', 'no '\n"
        r"  got: none in 5 examples: 'answer' is 'yes', outside .*; 'answer' is '-', .*\n"
        r"  remedy: mend the label set, or take the split away .*; spaces and capitals count$"
    )
    with pytest.raises(TaskError, match=parts):
        load(labels=("Yes", "no "))


def test_a_choice_that_does_not_exist_is_refused():
    with pytest.raises(TaskError, match=r"unlisted= cannot .*\n  expected: 'error' or 'leave-out'\n  got: 'drop'\n"):
        load(unlisted="drop")


def test_a_pickled_task_still_knows_what_was_left_out():
    copy = pickle.loads(pickle.dumps(load()))
    assert (copy, copy.left_out) == (load(), {"test": (1, 3)})


def test_what_was_left_out_cannot_be_changed():
    with pytest.raises(TypeError, match="does not support item assignment"):
        load().left_out["test"] = ()


def test_repr_counts_what_was_left_out():
    assert repr(load()) == "Task('quiz', test=3, left_out=2, labels=('yes', 'no'), metric='accuracy')"


def test_splits_of_a_folder_count_apart(tmp_path):
    for split, records in {"train": RECORDS[2:], "eval": RECORDS, "test": RECORDS[:1]}.items():
        (tmp_path / f"{split}.json").write_text(json.dumps(records))
    task = Task.load(tmp_path, labels=["yes", "no"], unlisted="leave-out")
    assert task.left_out == {"train": (1,), "eval": (1, 3)}


def test_rows_of_a_data_set_are_left_out_too():
    rows = [{"text": "a", "label": 0}, {"text": "b", "label": -1}]
    assert Task.from_dataset(rows, name="quiz", labels=["yes"], unlisted="leave-out").left_out == {"test": (1,)}


def test_the_real_task_with_such_answers_loads_without_them(real_tasks_folder):
    task = Task.load(real_tasks_folder / "mnli", unlisted="leave-out")
    assert task.left_out.keys() == {"eval", "test"}
    for split, numbers in task.left_out.items():
        records = json.loads((real_tasks_folder / "mnli" / f"{split}.json").read_text(encoding="utf-8"))
        assert [number for number, record in enumerate(records) if record["answer"] == " -"] == list(numbers)
        assert len(task.split(split)) == len(records) - len(numbers)
