"""Remarks are made where a reader of the numbers should know, and nowhere else."""

from pathlib import Path

import pytest
from points import make_point, make_tensors

from modeconn.adapters import Adapter
from modeconn.cli.notes import on_left_out, on_other_bases
from modeconn.tasks import Task


def point(base: str | None, **noted: str) -> Adapter:
    return make_point(make_tensors(0), fields={"name": "a", "provenance": noted}, base_model_name_or_path=base)


def test_a_base_of_another_name_is_told_with_both_names() -> None:
    assert on_other_bases([point("owner/x"), point("owner/y")], "owner/y") == [
        "base named by the adapter a: owner/x; used: owner/y"
    ]


@pytest.mark.parametrize("base", [None, "owner/x"])
def test_the_base_that_the_adapter_names_needs_no_remark(base: str | None) -> None:
    assert on_other_bases([point("owner/x")], base) == []


def test_one_folder_has_one_name_however_it_is_typed(tmp_path: Path) -> None:
    assert on_other_bases([point(str(tmp_path))], f"{tmp_path.parent}/./{tmp_path.name}/") == []


def test_a_base_that_a_fingerprint_tells_needs_no_remark() -> None:
    assert on_other_bases([point("owner/x", base_fingerprint="ab")], "owner/y") == []


def test_an_adapter_that_names_no_base_needs_no_remark() -> None:
    assert on_other_bases([point(None)], "owner/y") == []


def test_examples_left_out_are_told_for_the_splits_that_were_read() -> None:
    records = [{"prompt": "p", "answer": answer} for answer in ("yes", "-", "-")]
    quiz = Task.from_records("quiz", {"train": records[:2], "test": records}, labels=["yes"], unlisted="leave-out")
    whole = Task.from_records("whole", {"test": records[:1]}, labels=["yes"])
    told = "examples left out, with other answers than the task's labels"
    assert on_left_out([quiz, whole], ["test", "test"]) == [f"quiz/test: 2 of 3 {told}"]
    assert on_left_out([quiz], ["train", "test"]) == [f"quiz/train: 1 of 2 {told}", f"quiz/test: 2 of 3 {told}"]
