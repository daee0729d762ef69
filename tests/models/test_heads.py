"""Classification heads: how many classes, what they are called, and who says so."""

import json
import shutil

import pytest
from tiny import LABELS, make_base

import modeconn as mc
from modeconn.errors import AdapterError, ModelError, TaskError
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
    assert head_size([head()], task_type="SEQ_CLS") == 3
    assert head_size([head(2)], task_type="CAUSAL_LM") is None
    assert head_size([mc.Adapter.from_pretrained(adapters("llama", seed=1))], task_type="SEQ_CLS") is None


def test_a_head_counts_where_the_adapter_does_not_say_its_task_type(head, tmp_path):
    folder = shutil.copytree(head().source, tmp_path / "silent")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"task_type": None}))
    two = make_base(tmp_path / "two", "bert", num_labels=2)
    model = mc.AdapterModel.from_pretrained(two, adapters=[mc.Adapter.from_pretrained(folder)])
    assert model.module.config.num_labels == 3


def test_recorded_labels_are_taken(head):
    model = mc.AdapterModel.from_pretrained(adapters=[head(1, ["x", "y", "z"]), head(2)])
    assert model.family.labels == ("x", "y", "z")


OTHER_CLASSES = (
    r"the head of adapter-1 has other classes than the model\n"
    r"  expected: the classes that were recorded in training, \['x', 'y', 'z'\]\n"
    r"  got: \['y', 'x', 'z'\]\n  remedy: load the model for this adapter"
)


def test_given_labels_do_not_override_recorded_ones(head):
    with pytest.raises(ModelError, match=OTHER_CLASSES):
        mc.AdapterModel.from_pretrained(adapters=[head(1, ["x", "y", "z"])], labels=["y", "x", "z"])


def test_given_labels_may_differ_from_recorded_ones_in_blanks(head):
    assert head_labels([head(1, ["x", " y", "z"])], ["x", "y", "z"], task_type="SEQ_CLS") == ("x", "y", "z")


def test_a_point_with_other_classes_than_the_models_is_refused(head):
    model = mc.AdapterModel.from_pretrained(adapters=[head(2)], labels=["y", "x", "z"])
    with pytest.raises(ModelError, match=OTHER_CLASSES):
        model.check(head(1, ["x", "y", "z"]))
    model.check(head(3, ["y", "x", "z"]))


def test_heads_of_different_classes_are_not_joined(head):
    expected = (
        r"the heads of adapter-1 and adapter-2 have different classes\n  expected: the same classes in the same order\n"
        r"  got: \['x', 'y', 'z'\] and \['y', 'x', 'z'\]\n  remedy: train them in one run"
    )
    first, second = head(1, ["x", "y", "z"]), head(2, ["y", "x", "z"])
    with pytest.raises(AdapterError, match=expected):
        mc.AdapterModel.from_pretrained(adapters=[first, second])
    with pytest.raises(AdapterError, match=expected):
        mc.combine([0.5, 0.5], [first, second])


@pytest.mark.parametrize("labels", [None, [" x", "y", "z"]])
def test_heads_that_do_not_contradict_each_other_are_joined(labels, head):
    first, second = head(1, ["x", "y", "z"]), head(2, labels)
    assert mc.combine([0.5, 0.5], [first, second]).provenance["labels"] == ["x", "y", "z"]


def test_a_wrong_number_of_labels_is_refused(head):
    expected = r"do not fit the adapters' head\n  expected: 3 names, one for each class\n  got: 2: good, bad\n"
    with pytest.raises(ModelError, match=expected):
        mc.AdapterModel.from_pretrained(adapters=[head()], labels=["good", "bad"])


def task_of(labels, name="tone"):
    return mc.Task.from_records(name, {"test": [{"text": "cat", "label": labels[0]}]}, labels=labels)


def test_a_task_that_declares_as_many_labels_names_the_classes(head):
    model = mc.AdapterModel.from_pretrained(adapters=[head()])
    assert model.encode(task_of(("maybe", "bad", "good"))).rows.answers == (0,)
    assert model.classes_taken == {"tone": ("maybe", "bad", "good")}


def test_the_order_of_labels_that_nobody_declared_names_no_classes(head):
    """Sorted, they are in the order of the head by chance only."""
    records = [{"text": "cat", "label": label} for label in ("maybe", "bad", "good")]
    task = mc.Task.from_records("tone", {"test": records})
    assert task.labels == ("bad", "good", "maybe")
    expected = (
        r"classes are not known\n  expected: 3 names in the order of the head, such as \"labels\" in a task.json\n"
        r"  got: none recorded with the adapters or the base, and those of tone were collected from its data, in "
        r"alphabetical order\n  remedy: give labels=\.\.\. "
    )
    point = head()
    with pytest.raises(ModelError, match=expected):
        mc.AdapterModel.from_pretrained(adapters=[point]).encode(task)
    given = mc.AdapterModel.from_pretrained(adapters=[point], labels=("maybe", "bad", "good"))
    assert given.encode(task).rows.answers == (0, 1, 2)
    assert given.classes_taken == {}


def test_a_second_task_does_not_name_the_classes_otherwise(head):
    model = mc.AdapterModel.from_pretrained(adapters=[head()])
    model.encode(task_of(("maybe", "bad", "good")))
    expected = (
        r"two tasks name the classifier's classes differently\n  expected: one list of names .*\n"
        r"  got: \['maybe', 'bad', 'good'\] \(tone\) and \['good', 'bad', 'maybe'\] \(mood\)\n  remedy: give labels="
    )
    with pytest.raises(ModelError, match=expected):
        model.encode(task_of(("good", "bad", "maybe"), "mood"))
    model.encode(task_of(("maybe", "bad", "good"), "mood"))


def test_classes_that_nobody_names_are_an_error(head):
    model = mc.AdapterModel.from_pretrained(adapters=[head()])
    expected = (
        r"classes are not known\n  expected: 3 names in the order of the head\n"
        r"  got: none recorded with the adapters or the base, and the task tone has 2 labels\n  remedy: give labels="
    )
    with pytest.raises(ModelError, match=expected):
        model.encode(task_of(("good", "bad")))


def test_a_task_of_free_answers_names_no_classes():
    free = mc.Task.from_records("free", {"test": [{"prompt": "cat", "answer": "dog"}]})
    with pytest.raises(ModelError, match="and the task free has no labels"):
        labels_for_task((), free, 3, taken={})


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
