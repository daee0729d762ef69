"""Inputs are named the same however they were typed, and are never written over."""

import pytest

from modeconn.errors import RunError
from modeconn.runs import refuse_inputs_inside, resolved


def test_one_folder_has_one_name(tmp_path, monkeypatch):
    (tmp_path / "task").mkdir()
    monkeypatch.chdir(tmp_path)
    assert {resolved(name) for name in ("task", "task/", "./task", tmp_path / "task")} == {str(tmp_path / "task")}


def test_a_hub_id_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolved("owner/name") == "owner/name"


@pytest.mark.parametrize("inside", [".", "task", "deep/task.json"])
def test_an_output_folder_with_an_input_is_refused(tmp_path, inside):
    (tmp_path / "out" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "task").mkdir()
    (tmp_path / "out" / "deep" / "task.json").write_text("[]")
    with pytest.raises(RunError, match=r"(?s)cannot use .*out as a run folder.*inputs in it: .*another --output-dir"):
        refuse_inputs_inside(tmp_path / "out", [tmp_path / "out" / inside])


def test_an_input_beside_or_above_is_none_of_its_business(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out-2").mkdir()
    allowed = [tmp_path, tmp_path / "out-2", "owner/name", None]
    refuse_inputs_inside(tmp_path / "out", allowed)
    with pytest.raises(RunError, match=r"got: inputs in it: \S*/out\n"):
        refuse_inputs_inside(tmp_path / "out", [*allowed, tmp_path / "out"])
