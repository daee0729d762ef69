import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modeconn import Task, TaskError


def write(folder: Path, split: str, label: str, name: str, grey: int = 0) -> Path:
    path = folder / split / label / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((2, 3), grey, dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def pets(tmp_path):
    folder = tmp_path / "pets"
    for number, (split, label, name) in enumerate(
        [
            ("train", "dog", "2.png"),
            ("train", "dog", "1.png"),
            ("train", "cat", "b.png"),
            ("test", "dog", "9.png"),
            ("validation", "cat", "5.bmp"),
        ]
    ):
        write(folder, split, label, name, grey=number)
    return folder


def test_the_folder_of_an_image_is_its_class(pets):
    task = Task.load(pets)
    assert task.name == "pets"
    assert task.labels == ("cat", "dog")
    assert task.of_images
    assert {name: len(examples) for name, examples in task.splits.items()} == {"train": 3, "eval": 1, "test": 1}
    shown = [(example.shown, example.answer) for example in task.split("train")]
    assert shown == [("cat/b.png", "cat"), ("dog/1.png", "dog"), ("dog/2.png", "dog")]
    assert [int(example.image.pixels()[0, 0, 0]) for example in task.split("train")] == [2, 1, 0]


def test_task_json_names_the_classes_in_their_order(pets):
    (pets / "task.json").write_text(json.dumps({"name": "animals", "labels": ["dog", "cat"], "source": "mine"}))
    task = Task.load(pets)
    assert (task.name, task.labels, task.source) == ("animals", ("dog", "cat"), "mine")
    assert not task.labels_collected


def test_a_class_outside_the_labels_is_told_with_its_split(pets):
    write(pets, "test", "cow", "1.png")
    with pytest.raises(TaskError, match=r"(?s)examples of .*test.*'label' is 'cow', outside the label set"):
        Task.load(pets)
    assert len(Task.load(pets, unlisted="leave-out").split("test")) == 1


def test_folders_in_a_class_belong_to_it(pets):
    write(pets, "train", "cat/kittens", "x.png", grey=200)
    assert [example.answer for example in Task.load(pets).split("train")] == ["cat", "cat", "dog", "dog"]


def test_hidden_files_and_other_files_are_left_alone(pets):
    write(pets, "train", "cat/.thumbnails", "x.png")
    write(pets, "train", ".cache", "x.png")
    (pets / "train" / "cat" / "notes.txt").write_text("a note")
    (pets / "README.md").write_text("a note")
    assert len(Task.load(pets).split("train")) == 3


def test_the_same_images_in_other_files_are_the_same_task(pets, tmp_path):
    copied = tmp_path / "elsewhere" / "pets"
    for split, label, name, grey in [
        ("train", "cat", "1.tiff", 2),
        ("train", "dog", "1.bmp", 1),
        ("train", "dog", "2.pgm", 0),
        ("eval", "cat", "1.png", 4),
        ("test", "dog", "1.png", 3),
    ]:
        write(copied, split, label, name, grey=grey)
    assert Task.load(copied).fingerprint == Task.load(pets).fingerprint


def test_an_image_that_cannot_be_read_is_told_by_its_name(pets):
    (pets / "train" / "dog" / "1.png").write_bytes(b"broken")
    (pets / "train" / "cat" / "b.png").write_bytes(b"")
    expected = (
        r"(?s)cannot use 2 of the 3 examples of .*train.*'image' is cat/b.png cannot be decoded.*dog/1.png cannot"
    )
    with pytest.raises(TaskError, match=expected):
        Task.load(pets)


def test_images_without_a_class_are_told(pets):
    Image.fromarray(np.zeros((2, 2), dtype=np.uint8)).save(pets / "train" / "loose.png")
    with pytest.raises(TaskError, match=r"(?s)holds images without a class.*got: loose.png"):
        Task.load(pets)


def test_classes_without_images_are_told(pets):
    (pets / "train" / "cow").mkdir()
    with pytest.raises(TaskError, match=r"(?s)train holds classes without images.*got: cow\n"):
        Task.load(pets)


def test_classes_without_a_split_are_told(tmp_path):
    write(tmp_path, "cat", "", "1.png")
    with pytest.raises(
        TaskError, match=r"(?s)holds images, but no splits of them.*got: the folders cat\n.*put the folders"
    ):
        Task.load(tmp_path)


def test_a_split_cannot_be_a_file_and_a_folder(pets):
    (pets / "train.json").write_text("[]")
    with pytest.raises(TaskError, match=r"(?s)cannot tell the train split.*got: train, train.json"):
        Task.load(pets)


def test_splits_of_other_names_can_be_chosen(pets):
    (pets / "validation").rename(pets / "held-out")
    assert list(Task.load(pets, splits={"test": "held-out"}).splits) == ["test"]
