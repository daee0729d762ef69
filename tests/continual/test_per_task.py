"""Learning rate and number of epochs: one value for all tasks, or one a task."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from evaluation_tasks import make_task
from safetensors.torch import load_file

import modeconn as mc
from modeconn.continual import TrainRun, train
from modeconn.continual.settings import TrainSettings
from modeconn.runs import read_record

SEQUENCE = [make_task("first", 0), make_task("second", 1)]
FAST = {"rank": 2, "target_modules": ("q_proj",)}


@pytest.fixture(scope="module")
def trained(bases: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> TrainRun:
    """One epoch at one learning rate, given bare."""
    folder = tmp_path_factory.mktemp("train") / "run"
    return train(folder, bases("llama"), SEQUENCE, num_train_epochs=1, learning_rate=0.01, **FAST)


def same_bits(one: Path, other: Path) -> bool:
    first, second = (load_file(folder / "adapter_model.safetensors") for folder in (one, other))
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    "changed",
    [{"num_train_epochs": (1, 2), "learning_rate": 0.01}, {"num_train_epochs": 1, "learning_rate": [0.01, 0.02]}],
)
def test_a_value_for_the_second_task_leaves_the_first_checkpoint_as_it_was(
    trained: TrainRun, bases: Callable[[str], Path], tmp_path: Path, changed: dict
) -> None:
    other = train(tmp_path / "run", bases("llama"), SEQUENCE, **changed, **FAST)
    assert same_bits(other.checkpoints[0], trained.checkpoints[0])
    assert not same_bits(other.checkpoints[1], trained.checkpoints[1])


@pytest.mark.parametrize("values", [(0.01,), [0.01], (0.01, 0.01)])
def test_one_value_for_all_is_the_same_run_however_it_is_given(
    trained: TrainRun, bases: Callable[[str], Path], values: object
) -> None:
    folder = trained.checkpoints[0].parent
    again = train(folder, bases("llama"), SEQUENCE, num_train_epochs=1, learning_rate=values, **FAST)
    assert again.finished_before


def test_one_value_for_all_is_recorded_as_a_number(trained: TrainRun) -> None:
    record = read_record(trained.checkpoints[0].parent)
    assert record is not None
    assert (record.settings["num_train_epochs"], record.settings["learning_rate"]) == (1, 0.01)


def test_other_values_for_one_task_are_another_run(trained: TrainRun, bases: Callable[[str], Path]) -> None:
    folder = trained.checkpoints[0].parent
    with pytest.raises(mc.RunError, match=r"got: num_train_epochs 1 \(now \[1, 2\]\)\n"):
        train(folder, bases("llama"), SEQUENCE, num_train_epochs=(1, 2), learning_rate=0.01, **FAST)


@pytest.mark.parametrize(
    ("name", "values", "num_tasks", "expected"),
    [
        ("num_train_epochs", (1, 2, 3), 2, "one value, or 2: one a task"),
        ("learning_rate", (0.1, 0.2), 1, "one value for one task"),
    ],
)
def test_a_count_that_is_not_the_tasks_is_refused(
    tmp_path: Path, name: str, values: tuple[float, ...], num_tasks: int, expected: str
) -> None:
    got = " ".join(map(str, values))
    parts = rf"^{name} cannot be used for training\n  expected: {expected}\n  got: {got}\n  remedy: give --"
    with pytest.raises(mc.RunError, match=parts):
        train(tmp_path / "run", "no/base", SEQUENCE[:num_tasks], **{name: values})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "values", "expected", "got"),
    [
        ("learning_rate", (0.1, 0), "numbers above 0, at least one", "0.1 0"),
        ("num_train_epochs", [], "numbers above 0, at least one", "none"),
        ("num_train_epochs", 1.5, "whole numbers", "1.5"),
    ],
)
def test_values_that_cannot_train_are_refused(name: str, values: object, expected: str, got: str) -> None:
    with pytest.raises(mc.RunError, match=rf"^{name} cannot be used.*\n  expected: {expected}\n  got: {got}\n"):
        TrainSettings(**{name: values})  # type: ignore[arg-type]
