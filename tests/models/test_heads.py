"""Classification heads: how many classes, what they are called, and who says so."""

import json
import shutil

import pytest
from tiny import LABELS

import modeconn as mc
from modeconn.errors import ModelError, TaskError
from modeconn.models.heads import base_labels, head_labels, head_size, labels_for_task


@pytest.fixture
def head(adapters, tmp_path):
    """An adapter with a head of three classes whose names were recorded."""

    def made(seed=1, labels=None):
        folder = shutil.copytree(adapters("bert", seed=seed), tmp_path / f"adapter-{seed}")
        if labels:
            (folder / "modeconn.json").write_text(json.dumps({"labels": labels}))
        return mc.Adapter.from_pretrained(folder)

    return made


def test_the_size_is_that_of_the_saved_head(head, adapters):
    assert head_size([head()]) == 3
    assert head_size([mc.Adapter.from_pretrained(adapters("llama", seed=1))]) is None


def test_recorded_labels_are_taken(head):
    model = mc.AdapterModel.from_pretrained(adapters=[head(1, ["x", "y", "z"]), head(2)])
    assert model.family.labels == ("x", "y", "z")


def test_given_labels_come_before_recorded_ones(head):
    assert head_labels([head(1, ["x", "y", "z"])], ["a", "b", "c"]) == ("a", "b", "c")


def test_heads_of_different_classes_are_not_joined(head):
    expected = (
        r"the adapters' heads have different classes\n  expected: one head over the union of the tasks' labels\n"
        r"  got: \['a', 'b', 'c'\] and \['x', 'y', 'z'\]\n  remedy: train them in one run"
    )
    with pytest.raises(ModelError, match=expected):
        mc.AdapterModel.from_pretrained(adapters=[head(1, ["x", "y", "z"]), head(2, ["a", "b", "c"])])


def test_a_wrong_number_of_labels_is_refused(head):
    expected = r"do not fit the adapters' head\n  expected: 3 names, one for each class\n  got: 2: good, bad\n"
    with pytest.raises(ModelError, match=expected):
        mc.AdapterModel.from_pretrained(adapters=[head()], labels=["good", "bad"])


def task_of(labels):
    return mc.Task.from_records("tone", {"test": [{"text": "cat", "label": labels[0]}]}, labels=labels)


def test_a_task_with_as_many_labels_names_the_classes(head):
    model = mc.AdapterModel.from_pretrained(adapters=[head()])
    assert model.encode(task_of(("maybe", "bad", "good"))).rows.answers == (0,)


def test_classes_that_nobody_names_are_an_error(head):
    model = mc.AdapterModel.from_pretrained(adapters=[head()])
    expected = (
        r"classes are not known\n  expected: 3 names in the order of the head\n"
        r"  got: none recorded with the adapters or the base, and the task has 2 labels\n  remedy: give labels=\.\.\. "
    )
    with pytest.raises(ModelError, match=expected):
        model.encode(task_of(("good", "bad")))


def test_a_task_of_free_answers_names_no_classes():
    with pytest.raises(ModelError, match="and the task has no labels"):
        labels_for_task((), None, 3)


def test_an_answer_outside_the_head_is_an_error(head):
    model = mc.AdapterModel.from_pretrained(adapters=[head()], labels=LABELS)
    with pytest.raises(
        TaskError, match=r"no class for some answers of tone/test\n  expected: one of bad, good, maybe\n"
    ):
        model.encode(task_of(("yes", "no")))


def test_the_bases_own_names_are_taken_in_the_order_of_the_head():
    assert base_labels({1: "positive", 0: "negative"}) == ("negative", "positive")


@pytest.mark.parametrize("placeholders", [{0: "LABEL_0", 1: "LABEL_1"}, {}, None])
def test_placeholders_are_no_names(placeholders):
    assert base_labels(placeholders) == ()
