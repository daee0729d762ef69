"""Task: an immutable value, checked when made, equal and hashed by content."""

import hashlib
import pickle
import subprocess
import sys

import numpy as np
import pytest

from modeconn.errors import TaskError
from modeconn.tasks import Example, Task

PAIR = (Example("Text: fine.", "good"), Example("Text: awful.", "bad"))


def make(**changes):
    settings = {"name": "tone", "splits": {"train": PAIR, "test": PAIR[:1]}, "labels": ("good", "bad"), **changes}
    return Task(**settings)


def test_split_gives_the_examples_in_order():
    assert make().split("train") == PAIR


def test_a_missing_split_lists_those_present():
    with pytest.raises(TaskError, match=r"the task 'tone' has no split 'eval'\n  expected: one of test, train\n"):
        make().split("eval")


@pytest.mark.parametrize(("labels", "metric"), [(("good", "bad"), "accuracy"), (None, "exact_match")])
def test_the_default_metric_follows_from_the_labels(labels, metric):
    assert make(labels=labels).metric == metric


def test_splits_cannot_be_changed():
    with pytest.raises(TypeError, match="does not support item assignment"):
        make().splits["train"] = ()


def test_lists_become_tuples_and_splits_take_their_usual_order():
    task = make(labels=["good", "bad"], splits={"test": [PAIR[0]], "train": list(PAIR)})
    assert task == make()
    assert list(task.splits) == ["train", "test"]


def test_the_source_does_not_count_for_equality():
    assert make(source="a survey") == make()
    assert hash(make(source="a survey")) == hash(make())


CHANGES = [
    {"name": "other"},
    {"labels": ("bad", "good")},
    {"metric": "exact_match"},
    {"splits": {"train": PAIR}},
    {"splits": {"train": PAIR[::-1], "test": PAIR[:1]}},
    {"splits": {"train": PAIR, "eval": PAIR[:1]}},
]


@pytest.mark.parametrize("change", CHANGES)
def test_every_part_of_the_content_counts(change):
    assert make(**change) != make()
    assert make(**change).fingerprint != make().fingerprint


def test_the_fingerprint_is_the_hash_of_this_text():
    text = (
        '{"labels": null, "metric": "exact_match", "name": "n", '
        '"splits": {"eval": [["p", "\\u00e4"]], "test": [["q\\n", "b"]]}}'
    )
    task = Task("n", {"test": (Example("q\n", "b"),), "eval": (Example("p", "ä"),)})
    assert task.fingerprint == hashlib.sha256(text.encode()).hexdigest()


def test_the_fingerprint_is_the_same_in_another_process():
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).fingerprint)"
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(make()), capture_output=True, check=True)
    assert done.stdout.decode().strip() == make().fingerprint


def test_a_pickled_task_comes_back_whole():
    task = make(source="a survey")
    copy = pickle.loads(pickle.dumps(task))
    assert (copy, copy.source) == (task, "a survey")


def test_repr_is_short_for_a_large_task():
    task = make(splits={"train": PAIR * 5000}, labels=("good", "bad", *map(str, range(500))))
    assert repr(task) == (
        "Task('tone', train=10000, labels=('good', 'bad', '0', '1', '2', '3', ...), metric='accuracy')"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": " "}, r"cannot make a task\n  expected: a name that is not blank\n  got: ' '"),
        ({"splits": {}}, r"the task 'tone' has no splits\n  expected: one or more of the splits train, eval and test"),
        (
            {"splits": {"dev": PAIR}},
            r"splits of the task 'tone'\n  expected: splits called 'eval', 'test', 'train'\n  got: 'dev'",
        ),
        ({"splits": {"test": ()}}, r"the test split of the task 'tone' holds no examples"),
        (
            {"splits": {"test": (Example("a", "fine"),)}},
            r"cannot use 1 of the 1 examples of the test split of the task 'tone'\n.*\n"
            r"  got: 'answer' is 'fine', outside the label set in example 0",
        ),
        (
            {"metric": "f1"},
            r"(?s)cannot score the task 'tone'\n  expected: one of the metrics accuracy, edit_similarity.*f1",
        ),
        ({"labels": None, "metric": "accuracy"}, r"expected: a label set for the metric accuracy\n  got: free answers"),
        (
            {"labels": ("good", " good", "bad")},
            r"labels of the task 'tone'\n.*\n  got: 'good' more than once\n  remedy: name each label once",
        ),
        ({"labels": ()}, r"labels of the task 'tone'\n.*\n  got: an empty list"),
        ({"labels": ("good", "", 3)}, r"labels of the task 'tone'\n.*\n  got: '', 3\n"),
        ({"labels": "good"}, r"labels of the task 'tone'\n.*\n  got: a value of type str\n"),
        ({"labels": {"good", "bad"}}, r"labels of the task 'tone'\n.*\n  got: a value of type set\n"),
    ],
)
def test_a_task_is_checked_when_made(change, message):
    with pytest.raises(TaskError, match=message):
        make(**change)


def test_records_and_examples_may_be_mixed():
    records = [{"prompt": PAIR[0].prompt, "answer": PAIR[0].answer, "note": 3}, PAIR[1]]
    assert Task.from_records("tone", {"train": records}).split("train") == PAIR


def test_label_indices_point_into_the_declared_labels():
    records = [{"text": "a", "label": np.int64(1)}, {"text": "b", "label": 0}, {"text": "c", "label": "good"}]
    task = Task.from_records("tone", {"test": iter(records)}, labels=["good", "bad"])
    assert [example.answer for example in task.split("test")] == ["bad", "good", "good"]


def test_labels_are_collected_from_the_train_split():
    train = [{"text": "a", "label": "x"}, {"text": "b", "label": "b"}, {"text": "c", "label": "x"}]
    task = Task.from_records("letters", {"test": [{"text": "d", "label": "x"}], "train": train})
    assert (task.labels, task.metric) == (("b", "x"), "accuracy")


def test_labels_are_collected_from_all_splits_without_a_train_split():
    splits = {"eval": [{"text": "a", "label": "x"}], "test": [{"text": "b", "label": "b"}]}
    assert Task.from_records("letters", splits).labels == ("b", "x")


def test_a_label_that_the_train_split_lacks_is_outside_the_set():
    splits = {"train": [{"text": "a", "label": "x"}], "test": [{"text": "b", "label": "y"}]}
    with pytest.raises(TaskError, match=r"the test split of.*\n.*the label set is 'x'\n.*'y', outside the label set"):
        Task.from_records("letters", splits)


def test_free_answers_have_no_labels():
    task = Task.from_records("sums", {"test": [{"prompt": "1 + 1 =", "answer": " 2"}]})
    assert (task.labels, task.metric) == (None, "exact_match")


def test_columns_can_be_named():
    records = [{"question": "q", "text": "other", "gold": "a"}]
    task = Task.from_records("quiz", {"test": records}, prompt_column="question", answer_column="gold")
    assert task.split("test") == (Example("q", "a"),)


def test_one_named_column_keeps_the_default_of_the_other():
    task = Task.from_records("tone", {"test": [{"sentence": "fine", "label": "good"}]}, prompt_column="sentence")
    assert (task.split("test"), task.labels) == ((Example("fine", "good"),), ("good",))


def test_unknown_split_names_of_records_are_errors():
    with pytest.raises(TaskError, match=r"splits of the task 'tone'\n.*\n  got: 'validation'"):
        Task.from_records("tone", {"validation": PAIR})
