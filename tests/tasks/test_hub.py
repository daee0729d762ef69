"""Data sets of the `datasets` library, and the hub that tests cannot reach."""

import sys

import datasets
import pytest

from modeconn.errors import TaskError
from modeconn.tasks import Example, Task


def dataset(labels, names=("bad", "good"), **columns):
    classes = datasets.ClassLabel(names=list(names))
    columns = columns or {"text": [f"text {index}" for index in range(len(labels))]}
    features = datasets.Features({**{column: datasets.Value("string") for column in columns}, "label": classes})
    return datasets.Dataset.from_dict({**columns, "label": labels}, features=features)


def test_class_labels_give_names_in_their_order():
    task = Task.from_dataset(dataset([1, 0]), name="tone", source="a survey")
    assert task.split("test") == (Example("text 0", "good"), Example("text 1", "bad"))
    assert (task.labels, task.metric, task.source) == (("bad", "good"), "accuracy", "a survey")


def test_a_dataset_dict_gives_its_usual_splits():
    parts = {"train": dataset([0]), "validation": dataset([1]), "unsupervised": dataset([-1])}
    task = Task.from_dataset(datasets.DatasetDict(parts), name="tone")
    assert {split: len(examples) for split, examples in task.splits.items()} == {"train": 1, "eval": 1}


def test_splits_can_be_chosen():
    parts = {"train": dataset([0]), "validation": dataset([1, 1]), "test": dataset([-1])}
    task = Task.from_dataset(datasets.DatasetDict(parts), name="tone", splits={"test": "validation"})
    assert {split: len(examples) for split, examples in task.splits.items()} == {"test": 2}


def test_an_unlabelled_split_is_told_by_its_indices():
    parts = {"train": dataset([0]), "test": dataset([-1, -1])}
    with pytest.raises(TaskError, match=r"2 examples of the test split of the data set 'tone'\n.*\n.*index -1") as told:
        Task.from_dataset(datasets.DatasetDict(parts), name="tone")
    assert "leave out a split without labels with splits=" in told.value.remedy


def test_splits_must_name_their_classes_alike():
    parts = {"train": dataset([0]), "test": dataset([0], names=("good", "bad", "unsure"))}
    with pytest.raises(
        TaskError, match=r"same classes of 'label' in every split: bad, good\n.*unsure in the test split"
    ):
        Task.from_dataset(parts, name="tone")


def test_named_columns_of_a_dataset():
    task = Task.from_dataset(dataset([1], sentence=["fine"]), name="tone", prompt_column="sentence")
    assert task.split("test") == (Example("fine", "good"),)


def test_a_streamed_dataset_reads_alike():
    streamed = datasets.IterableDatasetDict({"test": dataset([1, 0]).to_iterable_dataset()})
    assert Task.from_dataset(streamed, name="tone") == Task.from_dataset(dataset([1, 0]), name="tone")


def test_something_without_rows_is_an_error():
    with pytest.raises(TaskError, match=r"cannot read the data set 'tone'\n.*\n  got: a value of type int as the test"):
        Task.from_dataset(3, name="tone")


def test_a_dataset_without_a_usual_split_lists_its_splits():
    parts = datasets.DatasetDict({"unsupervised": dataset([0])})
    with pytest.raises(
        TaskError, match=r"splits of the data set 'tone'\n.*train, eval and test\n  got: 'unsupervised'"
    ):
        Task.from_dataset(parts, name="tone")


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        TaskError, match=r"cannot load 'owner/name'\n.*\n.*not installed\n.*pip install 'modeconn\[hub\]'"
    ):
        Task.load("owner/name")


def test_a_hub_out_of_reach_is_an_error():  # the test run blocks all sockets
    with pytest.raises(TaskError, match=r"cannot load the hub data set 'owner/name'\n.*can be reached\n  got: no such"):
        Task.load("owner/name")


def test_an_id_may_name_a_config(monkeypatch):
    asked = []

    def load_dataset(path, config):  # stands in for the network, which the test run blocks
        asked.append((path, config))
        return datasets.DatasetDict({"train": dataset([1])})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    task = Task.load("owner/tone-data:english")
    assert asked == [("owner/tone-data", "english")]
    assert (task.name, task.source) == ("tone-data", "owner/tone-data:english")
    Task.load("owner/tone-data")
    assert asked[1] == ("owner/tone-data", None)
