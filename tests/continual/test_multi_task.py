"""Multi-task training: all examples in one stream, one checkpoint, and the rest of the score matrix missing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from method_runs import check_accumulates, check_resumes, log_of, loss_of, short_train, tiny_run

from modeconn.continual import ScoreMatrix, TrainRun
from modeconn.continual.methods import MultiTask, Sequential
from modeconn.continual.pooling import pooled
from modeconn.errors import RunError


@pytest.fixture(scope="module")
def run(bases: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> TrainRun:
    folder = tmp_path_factory.mktemp("multi-task") / "run"
    return short_train(folder, bases("llama"), MultiTask(), num_train_epochs=6)


def test_there_is_one_checkpoint_after_all_tasks(run: TrainRun) -> None:
    assert [folder.name for folder in run.checkpoints] == ["after-2-second"]
    assert len(log_of(run)) == 6 * 6  # 6 epochs of 48 examples in steps of 8


def test_the_score_matrix_has_its_first_and_last_rows_only(run: TrainRun) -> None:
    matrix = ScoreMatrix.from_frame(run.scores)
    assert np.isnan(matrix.values).tolist() == [[False, False], [True, True], [False, False]]
    assert matrix.average_accuracy() == pytest.approx(matrix.values[2].mean())
    assert np.isnan(matrix.forgetting())


def test_it_serves_both_tasks_where_sequential_training_forgets(
    run: TrainRun, bases: Callable[[str], Path], tmp_path: Path
) -> None:
    sequential = short_train(tmp_path / "run", bases("llama"), Sequential(), num_train_epochs=6)
    assert loss_of(run, 2, "first") < 0.8 * loss_of(sequential, 2, "first")


def test_pooled_rows_are_all_rows_and_know_their_examples(bases: Callable[[str], Path], tmp_path: Path) -> None:
    first, second = tiny_run(tmp_path / "run", bases("llama")).train_sets
    both = pooled([first, second])
    assert [row.targets for row in both.rows.rows] == [row.targets for one in (first, second) for row in one.rows.rows]
    assert [row.example for row in both.rows.rows] == list(range(48))
    in_batches = [target.tolist() for batch in both.batches for target in batch.targets]
    assert in_batches == [list(both.rows.rows[row].targets) for row in both.order]
    assert pooled([first]) is first


def test_a_pooled_task_ends_early(bases: Callable[[str], Path], tmp_path: Path) -> None:
    settings = {"num_train_epochs": 30, "learning_rate": 0.2, "validation_split": "train"}
    run = short_train(tmp_path / "run", bases("llama"), MultiTask(), early_stopping_patience=2, **settings)
    assert len(log_of(run)) < 30 * 6


def test_killed_and_started_again(bases: Callable[[str], Path], tmp_path: Path) -> None:
    check_resumes(tmp_path, bases("llama"), MultiTask())


def test_smaller_batches_make_the_same_steps(bases: Callable[[str], Path], tmp_path: Path) -> None:
    check_accumulates(tmp_path, bases("llama"), MultiTask())


def test_settings_a_task_have_no_meaning(bases: Callable[[str], Path], tmp_path: Path) -> None:
    message = r"learning_rate cannot be used for training\n  expected: one value for one task\n  got: 0.1 0.2\n"
    with pytest.raises(RunError, match=message):
        short_train(tmp_path / "run", bases("llama"), MultiTask(), learning_rate=(0.1, 0.2))
