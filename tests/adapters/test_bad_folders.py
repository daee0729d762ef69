"""Adapter folders that cannot be read: the message says which file, what is wrong and what to do."""

import json
import re

import pytest
from points import make_tensors, write_folder

from modeconn.adapters import Adapter
from modeconn.errors import AdapterError

SAVED_BY_PEFT = "remedy: give the folder that PEFT's save_pretrained wrote"


def fails(source, *parts):
    """Reading must fail, and the message hold these parts in this order."""
    with pytest.raises(AdapterError, match="(?s)" + ".*".join(map(re.escape, parts))):
        Adapter.from_pretrained(source)


@pytest.fixture
def folder(tmp_path):
    """A good adapter folder, to be spoilt."""
    return write_folder(tmp_path / "adapter")


def test_the_folder_is_good_before_it_is_spoilt(folder):
    assert Adapter.from_pretrained(folder).name == "adapter"


def test_a_missing_folder(tmp_path):
    path = tmp_path / "nothing"
    fails(path, f"cannot read the adapter '{path}'", "or a hub id owner/name", "got: no such folder", "check the path")


def test_a_missing_folder_beside_the_working_one_is_no_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fails("../nothing", "cannot read the adapter '../nothing'", "got: no such folder", "remedy: check the path")


def test_a_file_instead_of_a_folder(folder):
    fails(folder / "adapter_config.json", "cannot read the adapter", "expected: a folder that holds", "got: a file")


def test_a_folder_without_a_config(folder):
    (folder / "adapter_config.json").unlink()
    fails(folder, f"cannot read {folder / 'adapter_config.json'}", "a JSON object", "got: no such file", SAVED_BY_PEFT)


def test_a_folder_of_adapters(tmp_path):
    """As PEFT saves adapters that have names, and trainers their checkpoints."""
    for name in ("second", "first"):
        write_folder(tmp_path / name)
    fails(tmp_path, "got: no such file", "remedy: give the folder of one adapter: in this one are first, second")


def test_a_full_model_without_its_weights(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    fails(tmp_path, "adapter_config.json", "got: no such file", "remedy: this looks like a full model without weights")


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ('{"peft_type": "LORA",', "JSONDecodeError"),
        ('["LORA"]', "list"),
        ("", "JSONDecodeError"),
        ("[" * 100_000, "RecursionError"),
    ],
    ids=["broken", "list", "empty", "nested without end"],
)
def test_a_config_that_is_no_json_object(folder, text, got):
    (folder / "adapter_config.json").write_text(text)
    fails(folder, "cannot read", "adapter_config.json", "expected: a JSON object", f"got: {got}", SAVED_BY_PEFT)


def test_a_config_that_is_no_text(folder):
    (folder / "adapter_config.json").write_bytes(b"\xff\xfe\x00")
    fails(folder, "cannot read", "adapter_config.json", "expected: a JSON object", "got: UnicodeDecodeError")


def test_a_broken_provenance_file(folder):
    (folder / "modeconn.json").write_text("{")
    fails(folder, "cannot read", "modeconn.json", "expected: a JSON object", "remedy: remove the file")


@pytest.mark.parametrize(
    ("key", "value"),
    [("base_fingerprint", one) for one in ([1], 5, None, "")] + [("labels", one) for one in ([1, 2], {"a": 1}, "good")],
)
def test_notes_of_another_sort(folder, key, value):
    (folder / "modeconn.json").write_text(json.dumps({key: value}))
    told = f"got: {key}={value!r}"
    fails(folder, "modeconn.json", '"labels": a list of names', told, "remedy: correct the values, or remove")


def test_notes_that_are_read(folder):
    notes = {"base_fingerprint": "ab12", "labels": ["good", "bad"], "other": [1]}
    (folder / "modeconn.json").write_text(json.dumps(notes))
    assert Adapter.from_pretrained(folder).provenance == notes


def test_a_folder_without_weights(folder):
    (folder / "adapter_model.safetensors").unlink()
    parts = "expected: adapter_model.safetensors or adapter_model.bin", "got: adapter_config.json", SAVED_BY_PEFT
    fails(folder, f"the adapter in {folder} has no weights", *parts)


def test_an_adapter_saved_before_training_changes_nothing(tmp_path):
    untrained = {name: value * ("lora_A" in name) for name, value in make_tensors(1).items()}
    folder = write_folder(tmp_path / "untrained", untrained)
    fails(
        folder, "changes nothing", "not zero", "got: 2 updates, all zero", "remedy: give a trained", "allow_zero=True"
    )


def test_an_adapter_saved_before_training_is_read_when_allowed(tmp_path):
    untrained = {name: value * ("lora_A" in name) for name, value in make_tensors(1).items()}
    point = Adapter.from_pretrained(write_folder(tmp_path / "untrained", untrained), allow_zero=True)
    assert point.is_zero


def test_the_last_part_of_the_folder_is_the_name_unless_one_is_given(folder):
    assert Adapter.from_pretrained(folder, name="after task 1").name == "after task 1"


def test_what_the_trainer_noted_comes_along(folder):
    (folder / "modeconn.json").write_text(json.dumps({"labels": ["good", "bad"]}))
    assert Adapter.from_pretrained(folder).provenance == {"labels": ["good", "bad"]}
