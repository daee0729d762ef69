"""Measures of forgetting and transfer, worked by hand."""

import numpy as np
import pandas as pd
import pytest

from modeconn.continual.scores import SCORE_COLUMNS, ScoreMatrix
from modeconn.errors import EvaluationError

R = [[0.25, 0.20, 0.30], [0.90, 0.30, 0.28], [0.70, 0.80, 0.40], [0.60, 0.85, 0.95]]


def test_measures_worked_by_hand() -> None:
    matrix = ScoreMatrix(R)
    assert matrix.average_accuracy() == pytest.approx((0.60 + 0.85 + 0.95) / 3)
    expected = (0.90 + (0.70 + 0.80) / 2 + (0.60 + 0.85 + 0.95) / 3) / 3
    assert matrix.average_incremental_accuracy() == pytest.approx(expected)
    assert matrix.backward_transfer() == pytest.approx(((0.60 - 0.90) + (0.85 - 0.80)) / 2)
    assert matrix.forward_transfer() == pytest.approx(((0.30 - 0.20) + (0.40 - 0.30)) / 2)
    # Of the second task the best earlier row counts, its own training or before; row 0 is no training.
    assert matrix.forgetting() == pytest.approx(((0.90 - 0.60) + (0.80 - 0.85)) / 2)
    assert set(matrix.summary()) >= {"average_accuracy", "forgetting"}


def test_one_task_has_no_transfer() -> None:
    matrix = ScoreMatrix([[0.2], [0.9]])
    assert matrix.average_accuracy() == 0.9
    assert all(np.isnan(one) for one in (matrix.backward_transfer(), matrix.forward_transfer(), matrix.forgetting()))


def test_a_missing_cell_is_missing_and_not_zero() -> None:
    values = np.array(R)
    values[3, 0] = np.nan
    matrix = ScoreMatrix(values)
    assert np.isnan(matrix.average_accuracy())
    assert np.isnan(matrix.forgetting())
    assert matrix.forward_transfer() == ScoreMatrix(R).forward_transfer()


def frame(values: list[list[float]], metric: str = "accuracy") -> pd.DataFrame:
    rows = [
        ("replay", "lora", 0, i, f"task {j}", metric, value)
        for i, row in enumerate(values)
        for j, value in enumerate(row)
    ]
    return pd.DataFrame(rows, columns=SCORE_COLUMNS)


def test_a_table_becomes_a_matrix() -> None:
    both = pd.concat([frame(R), frame([[9.0] * 3] * 4, "loss")])
    assert np.array_equal(ScoreMatrix.from_frame(both).values, R)
    holes = both[~((both["after_task"] == 1) & (both["task"] == "task 2"))]
    assert np.isnan(ScoreMatrix.from_frame(holes).values[1, 2])


def test_bad_matrices_are_refused() -> None:
    with pytest.raises(EvaluationError, match=r"no score matrix\n.*\n  got: an array of shape \[3, 3\]"):
        ScoreMatrix(np.ones((3, 3)))
    with pytest.raises(EvaluationError, match="several scores of task 0 after task 0"):
        ScoreMatrix.from_frame(pd.concat([frame(R), frame(R)]))
