"""One adapter a task: each starts anew, and answers the questions of its own task."""

from collections.abc import Callable
from pathlib import Path

import pytest
from method_runs import SEQUENCE, check_resumes, log_of, loss_of, points, short_train, tiny_run

import modeconn as mc
from modeconn.continual import ScoreMatrix, TrainRun
from modeconn.continual.methods import OneAdapterPerTask
from modeconn.continual.task_work import TaskWork


@pytest.fixture(scope="module")
def run(bases: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> TrainRun:
    return short_train(tmp_path_factory.mktemp("per-task") / "run", bases("llama"), OneAdapterPerTask())


def test_the_second_task_starts_where_the_first_did(
    run: TrainRun, bases: Callable[[str], Path], tmp_path: Path
) -> None:
    untrained = tiny_run(tmp_path / "untrained", bases("llama"))
    rows = TaskWork(untrained, 2).rows(0)
    assert rows is not None
    batch = untrained.batch([(untrained.train_sets[1], row) for row in rows])
    first_loss = float(untrained.losses(batch).detach().sum()) / untrained.num_tokens(batch)
    first_step = next(one for one in log_of(run) if one["task"] == "second")
    assert first_step["loss"] == pytest.approx(first_loss, rel=1e-5)


def test_a_task_is_scored_with_its_own_adapter_or_else_the_newest(run: TrainRun, bases: Callable[[str], Path]) -> None:
    model = mc.AdapterModel.from_pretrained(bases("llama"))
    splits = [model.encode(task) for task in SEQUENCE]
    for after, task, number in ((1, "first", 1), (1, "second", 1), (2, "first", 1), (2, "second", 2)):
        place = 0 if task == "first" else 1
        (sums,) = model.evaluate(points(run)[number - 1], [splits[place]])
        assert loss_of(run, after, task) == pytest.approx(float(sums.loss_sum.sum() / sums.num_tokens.sum()), abs=1e-9)


def test_nothing_is_forgotten(run: TrainRun) -> None:
    assert ScoreMatrix.from_frame(run.scores).forgetting() == 0


def test_killed_and_started_again(bases: Callable[[str], Path], tmp_path: Path) -> None:
    check_resumes(tmp_path, bases("llama"), OneAdapterPerTask())


def test_every_task_has_its_own_epochs(bases: Callable[[str], Path], tmp_path: Path) -> None:
    run = short_train(tmp_path / "run", bases("llama"), OneAdapterPerTask(), num_train_epochs=(2, 1))
    assert [one["step"] for one in log_of(run)] == [*range(1, 7), *range(1, 4)]
