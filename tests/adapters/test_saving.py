"""Saving replaces an adapter whole, touches nothing else and leaves nothing half-written."""

import json
import os
import re
from functools import reduce
from operator import add

import pytest
from points import make_point, make_tensors, write_folder

from modeconn.adapters import Adapter, combine
from modeconn.errors import AdapterError

HEADED = {"modules_to_save": ["classifier"]}


@pytest.fixture
def point():
    return make_point(make_tensors(1), fields={"name": "first"})


def headed(seed):
    return make_point(make_tensors(seed, heads={"classifier.weight": (3, 5)}), fields={"name": f"head{seed}"}, **HEADED)


def fails(point, folder, *parts):
    """Saving must fail, and the message hold these parts in this order."""
    with pytest.raises(AdapterError, match="(?s)" + ".*".join(map(re.escape, parts))):
        point.save_pretrained(folder)


def contents(folder):
    """Relative path -> bytes of every file below a folder, hidden ones included."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_parent_folders_are_made(point, tmp_path):
    folder = point.save_pretrained(tmp_path / "a" / "b" / "c")
    assert Adapter.from_pretrained(folder).fingerprint == point.fingerprint


def test_the_folder_holds_two_files_and_nothing_lies_beside_it(point, tmp_path):
    point.save_pretrained(tmp_path / "a")
    assert sorted(contents(tmp_path)) == ["a/adapter_config.json", "a/adapter_model.safetensors"]


def test_the_same_point_gives_the_same_bytes(point, tmp_path):
    assert contents(point.save_pretrained(tmp_path / "a")) == contents(point.save_pretrained(tmp_path / "b"))


def test_what_the_trainer_noted_is_saved_with_it(tmp_path):
    point = make_point(make_tensors(1), fields={"provenance": {"labels": ["yes", "no"]}})
    folder = point.save_pretrained(tmp_path / "a")
    assert json.loads((folder / "modeconn.json").read_text()) == {"labels": ["yes", "no"]}


def test_an_adapter_is_replaced_with_all_its_files(point, tmp_path):
    folder = write_folder(tmp_path / "a", make_tensors(9))
    (folder / "modeconn.json").write_text("{}")
    point.save_pretrained(folder)
    assert Adapter.from_pretrained(folder).fingerprint == point.fingerprint
    assert not (folder / "modeconn.json").exists()


def test_a_point_is_saved_over_the_folder_that_it_was_read_from(tmp_path):
    folder = write_folder(tmp_path / "a")
    point = Adapter.from_pretrained(folder)
    point.save_pretrained(folder)
    assert Adapter.from_pretrained(folder).fingerprint == point.fingerprint


def test_an_empty_folder_is_filled(point, tmp_path):
    (tmp_path / "a").mkdir()
    assert Adapter.from_pretrained(point.save_pretrained(tmp_path / "a")).updates


@pytest.mark.parametrize("other", ["notes.txt", "checkpoint-500/optimizer.pt"])
def test_a_folder_with_other_files_is_left_alone(point, tmp_path, other):
    folder = write_folder(tmp_path / "run")
    (folder / other).parent.mkdir(exist_ok=True)
    (folder / other).write_text("precious")
    before = contents(tmp_path)
    fails(
        point, folder, f"cannot save an adapter to {folder}", "holds an adapter and nothing else", "got: a folder with"
    )
    assert contents(tmp_path) == before


def test_a_file_is_left_alone(point, tmp_path):
    (tmp_path / "a").write_text("precious")
    fails(point, tmp_path / "a", "cannot save", "a new or empty folder", "got: a file", "remedy: give another folder")
    assert contents(tmp_path) == {"a": b"precious"}


def test_a_file_in_the_place_of_a_parent_folder(point, tmp_path):
    (tmp_path / "file").touch()
    parts = "cannot save an adapter to", "a folder that can be written", "got: ", "remedy: give a folder on a disk"
    fails(point, tmp_path / "file" / "a", *parts)


def test_a_full_disk_leaves_the_former_adapter_and_nothing_else(tmp_path):
    resource = pytest.importorskip("resource")
    point = make_point(make_tensors(1, modules={"layers.0.q": (9000, 5)}))
    folder = write_folder(tmp_path / "a")
    before = contents(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        fails(point, folder, "cannot save an adapter to", "expected: a folder that can be written", "File too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("former", [True, False])
def test_an_interruption_leaves_what_was_there(point, tmp_path, monkeypatch, former):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    if former:
        write_folder(tmp_path / "a")
    before = contents(tmp_path)
    monkeypatch.setattr("modeconn.adapters.writing.save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        point.save_pretrained(tmp_path / "a")
    assert contents(tmp_path) == before
    assert not [path for path in tmp_path.iterdir() if path.name != "a"]


def test_a_rename_that_fails_puts_the_former_adapter_back(point, tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "a")
    before = contents(tmp_path)
    rename = os.replace

    def refuse_the_new_one(source, target):
        if source.parent.name == "new":
            raise PermissionError(13, "Permission denied")
        return rename(source, target)

    monkeypatch.setattr("modeconn.atomic.os.replace", refuse_the_new_one)
    fails(point, folder, "cannot save an adapter to", "got: PermissionError: Permission denied")
    assert contents(tmp_path) == before


def test_a_difference_with_a_head_is_no_checkpoint(tmp_path):
    parts = "cannot save combination as an adapter", "coefficients sum to 1", "(classifier.weight)", "got: ", "sum to 0"
    fails(headed(1) - headed(2), tmp_path / "a", *parts, "remedy: add the difference to a checkpoint first")
    assert not (tmp_path / "a").exists()


def test_a_difference_with_a_head_is_saved_once_added_to_a_checkpoint(tmp_path):
    a, b, c = headed(1), headed(2), headed(3)
    assert Adapter.from_pretrained((c + 0.5 * (a - b)).save_pretrained(tmp_path / "a")).saved


def test_a_mean_of_many_heads_is_saved_though_its_coefficients_do_not_sum_to_one_exactly(tmp_path):
    points = [headed(seed) for seed in range(10)]
    assert reduce(add, [0.1] * 10) != 1.0  # sum() of Python 3.12 would make up for the rounding
    mean = combine([0.1] * 10, points)
    assert Adapter.from_pretrained(mean.save_pretrained(tmp_path / "mean")).saved


def test_a_difference_without_a_head_is_saved(point, tmp_path):
    other = make_point(make_tensors(2))
    folder = (point - other).save_pretrained(tmp_path / "a")
    assert Adapter.from_pretrained(folder).norm() == pytest.approx((point - other).norm(), rel=1e-6)


def test_a_point_in_which_all_cancels_is_not_saved(point, tmp_path):
    fails(
        point - point, tmp_path / "a", "cannot save combination as an adapter", "every update cancels", "the base model"
    )
