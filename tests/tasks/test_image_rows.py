import shutil
import tempfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from modeconn import Task, TaskError
from modeconn.tasks import image_rows
from modeconn.tasks.image_rows import Pixels, encode_images, stacked_pixels

LABELS = ("cat", "dog")


class Halving:
    """Stands for an image processor: pixels divided by two, channels first."""

    num_tokens = 3

    def __init__(self):
        self.sizes = []

    def read(self, images, *, names):
        assert len(images) == len(names)
        self.sizes.append(len(images))
        return torch.stack([torch.from_numpy(one.pixels() / 2).float().permute(2, 0, 1) for one in images])


def task_of(images, labels=LABELS):
    records = [{"image": one, "label": LABELS[number % 2]} for number, one in enumerate(images)]
    return Task.from_records("pets", {"test": records}, labels=labels)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (150, 2, 3))


def encode(task, reader=None):
    return encode_images(task, "test", reader or Halving(), labels=("cow", *LABELS))


def test_every_image_is_a_row_with_its_class_and_its_pixels(images):
    encoded = encode(task_of(images))
    assert [row.targets for row in encoded.rows] == [(1 + number % 2,) for number in range(150)]
    assert encoded.answers == tuple(row.targets[0] for row in encoded.rows)
    assert [row.example for row in encoded.rows] == list(range(150))
    assert {len(row.context) for row in encoded.rows} == {3}
    for row, image in zip(encoded.rows, images, strict=True):
        assert np.array_equal(row.pixels.values[row.place, 0].numpy() * 2, image)


def test_images_are_read_in_pieces(images):
    reader = Halving()
    encode(task_of(images), reader)
    assert reader.sizes == [64, 64, 22]


def test_rows_side_by_side_are_a_view_and_others_are_copied(images):
    rows = encode(task_of(images)).rows
    whole = rows[0].pixels.values
    assert stacked_pixels(rows[4:9]).data_ptr() == whole[4:].data_ptr()
    mixed = stacked_pixels([rows[7], rows[2], rows[2]])
    assert torch.equal(mixed, whole[[7, 2, 2]])


def test_rows_of_several_splits_are_put_together(images):
    first, second = encode(task_of(images[:5])).rows, encode(task_of(images[5:9])).rows
    found = stacked_pixels([first[4], second[0], second[1]])
    assert np.array_equal(found[:, 0].numpy() * 2, images[4:7])


def test_pixels_are_equal_by_content(images):
    values = torch.from_numpy(images).float()
    assert Pixels.of(values) == Pixels.of(values.clone())
    assert Pixels.of(values) != Pixels.of(values + 1)
    assert Pixels.of(values) != Pixels.of(values.view(150, 3, 2))
    assert repr(Pixels.of(values)) == repr(Pixels.of(values.clone()))


def test_rows_are_equal_by_what_is_read_and_asked(images):
    assert encode(task_of(images)) == encode(task_of(images.tolist()))
    assert encode(task_of(images)) != encode(task_of(images[::-1]))


def test_many_images_are_held_in_a_file(images, monkeypatch, tmp_path):
    expected, maps, memmap = encode(task_of(images)), [], np.memmap

    def recorded(*arguments, **options):
        maps.append(memmap(*arguments, **options))
        return maps[-1]

    monkeypatch.setattr(image_rows, "_MOST_IN_MEMORY", 150 * 2 * 3 * 4 - 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(np, "memmap", recorded)
    encoded = encode(task_of(images))
    assert [one.ctypes.data for one in maps] == [encoded.rows[0].pixels.values.data_ptr()]
    assert encoded == expected
    assert list(tmp_path.iterdir()) == []  # the file has no name


def test_a_full_disk_is_told_before_anything_is_written(images, monkeypatch):
    monkeypatch.setattr(image_rows, "_MOST_IN_MEMORY", 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(TaskError, match=r"(?s)no room for the images.*temporary files.*0.0 GiB\n.*TMPDIR"):
        encode(task_of(images))


def test_sizes_that_differ_between_pieces_are_told(images):
    others = [*images.tolist()[:64], *np.zeros((3, 4, 4), dtype=int).tolist()]
    with pytest.raises(TaskError, match=r"(?s)do not have one size.*\[1, 2, 3\], \[1, 4, 4\]"):
        encode(task_of(others))


def test_an_answer_without_a_class_is_told(images):
    with pytest.raises(TaskError, match=r"(?s)no class for some answers of pets/test.*got: dog"):
        encode_images(task_of(images), "test", Halving(), labels=("cat",))
