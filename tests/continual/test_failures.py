"""Training that diverges stops before it keeps anything, and a disk that is full leaves the state before."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from disks import files_of_at_most
from method_runs import short_train
from safetensors.torch import save_file

from modeconn.continual.methods import EWC, Sequential
from modeconn.continual.scores import check_score
from modeconn.continual.state import TrainState, load_state, save_state
from modeconn.errors import EvaluationError, RunError
from modeconn.runs import RunFolder
from modeconn.runs.admission import refusal

ONE_STEP: dict[str, Any] = {"per_device_train_batch_size": 64, "num_train_epochs": 1}


def test_a_last_step_that_diverges_leaves_no_checkpoint(bases: Callable[[str], Path], tmp_path: Path) -> None:
    told = r"loss on second is not finite\n  expected: numbers\n  got: loss nan after step 1\n  remedy: lower"
    with pytest.raises(EvaluationError, match=told):
        short_train(tmp_path / "run", bases("llama"), Sequential(), learning_rate=(1e-3, 1e30), **ONE_STEP)
    assert [path.name for path in tmp_path.glob("run/after-*")] == ["after-1-first"]


def test_a_gradient_that_overflows_stops_the_run(bases: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(
        EvaluationError, match=r"loss on second is not finite\n.*\n  got: .*gradient norm inf at step 2"
    ):
        short_train(tmp_path / "run", bases("llama"), EWC(penalty_weight=1e38))
    assert [path.name for path in tmp_path.glob("run/after-*")] == ["after-1-first"]


def test_a_score_matrix_has_numbers_only() -> None:
    check_score(3.5, "first", 0)
    with pytest.raises(EvaluationError, match=r"checkpoint after task 2 has no finite loss on first\n.*\n  got: nan\n"):
        check_score(float("nan"), "first", 2)
    with pytest.raises(EvaluationError, match=r"the base model has no finite loss on first\n.*\n  got: inf\n.*a base"):
        check_score(float("inf"), "first", 0)


@pytest.mark.parametrize("size", [0, 100, 3000, 60_000])
def test_a_state_that_does_not_fit_leaves_the_one_before(tmp_path: Path, size: int) -> None:
    with RunFolder.open(tmp_path / "run", command="train", settings={}) as run:
        save_state(run, TrainState(task=1, weights={"w": torch.ones(4)}))
        told = rf"cannot write .*train-state.pt\n  expected: .*\n  got: {os.strerror(errno.EFBIG)}\n  remedy: .*room"
        with files_of_at_most(size), pytest.raises(RunError, match=told):
            save_state(run, TrainState(task=2, weights={"w": torch.ones(20_000)}))
        kept = load_state(run)
        assert kept is not None
        assert (kept.task, kept.weights["w"].tolist()) == (1, [1.0] * 4)


def test_libraries_that_hide_a_full_disk_are_understood(tmp_path: Path) -> None:
    told = rf"cannot write {tmp_path}\n(.|\n)*got: {os.strerror(errno.EFBIG)}\n"
    weights = torch.ones(20_000)
    with pytest.raises(RunError, match=told), files_of_at_most(3000), refusal(tmp_path):
        save_file({"w": weights}, tmp_path / "w.safetensors")
    file = (tmp_path / "w.pt").open("wb")
    with pytest.raises(RunError, match=told), files_of_at_most(3000), refusal(tmp_path):
        torch.save(weights, file)
    file.close()


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"^a shape is wrong$"), refusal(tmp_path):
        raise RuntimeError("a shape is wrong")
    with pytest.raises(EvaluationError, match=r"^no number"), refusal(tmp_path):
        raise EvaluationError("no number", expected="a number", got="(os error 28)", remedy="none")
