"""The rows of a score matrix table, checked: what the figures of continual runs begin with."""

import numpy as np
import pandas as pd

from modeconn.errors import RunError, listed

from . import columns

_NAMES = ("method", "adapter", "task", "metric")


def checked(frame: pd.DataFrame, *, figure: str) -> pd.DataFrame:
    """The table, once it has every column that a figure needs, with names as text."""
    columns.require_columns(frame, (*_NAMES, "seed", "after_task", "score"), figure=figure)
    columns.require_names(frame, (*_NAMES, "seed", "after_task"), figure=figure)
    return frame.assign(**{column: frame[column].astype(str) for column in _NAMES})


def one_metric(rows: pd.DataFrame, metric: str | None, *, figure: str) -> pd.DataFrame:
    """The rows of one metric; with None each task must have one metric of its own."""
    if metric is not None:
        return columns.pick(rows, "metric", metric, figure=figure, remedy="")
    kinds = rows.drop_duplicates(["task", "metric"])
    if kinds["task"].duplicated().any():
        raise RunError(
            f"cannot draw {figure}: a task has several metrics",
            expected="one metric for each task",
            got=listed(rows["metric"].unique()),
            remedy="pass metric= with one of them",
        )
    return rows


def with_scores(rows: pd.DataFrame, *, figure: str) -> pd.DataFrame:
    """The rows of the metric that is drawn, its numbers checked: a run's table holds losses beside its scores.

    A cell that was not measured may stand as a gap.
    """
    measured = columns.rows_where(rows, rows["score"].notna().to_numpy())
    columns.require_columns(measured, ("score",), figure=figure)
    columns.require_range(measured, "score", figure=figure, keys=("task", "after_task"), low=0, high=1)
    return rows.assign(score=columns.numbers(rows, "score"))


def label(rows: pd.DataFrame) -> str:
    """What the scores are: their metric, or "score" where tasks have different ones."""
    kinds = [name.replace("_", " ") for name in rows["metric"].drop_duplicates()]
    return kinds[0] if len(kinds) == 1 else "score"


def method_names(rows: pd.DataFrame) -> np.ndarray:
    """What a legend calls each row's method, `[rows]`: with its adapter where the table holds several."""
    names = rows["method"].astype(str).to_numpy()
    adapters = rows["adapter"].astype(str).to_numpy()
    return names + ", " + adapters if len(set(adapters)) > 1 else names
