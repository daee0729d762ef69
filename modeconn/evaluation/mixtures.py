"""Mixtures of tasks: a weighted mean of profiles is a profile."""

import operator
from collections.abc import Mapping
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd

from modeconn.errors import EvaluationError, listed
from modeconn.evaluation.interpolant import Interpolant

Weights = Mapping[str, float]


def mixed_rows(frame: pd.DataFrame, weights: Mapping[str, Weights], name: str) -> pd.DataFrame:
    """The rows of a mixture in a profile's table, one for each path and position.

    Loss and score are weighted means of the tasks' own. Their intervals are those of independent samples:
    `low = m - sqrt(sum_k w_k^2 (m_k - low_k)^2)`, high alike, which keeps the skew of an interval of a proportion (Zou
    and Donner 2008, Statistics in Medicine 27).

    Args:
        frame: The profile's table.
        weights: Path -> task -> weight; the weights of a path sum to 1.
        name: The mixture's name.

    Raises:
        EvaluationError: If the tasks of a path have different splits or positions.
    """
    tables = []
    for path, own in weights.items():
        rows = [frame.loc[(frame["path"] == path) & (frame["task"] == task)].reset_index(drop=True) for task in own]
        _check_together(rows, name)
        first, shares = rows[0], np.array(list(own.values()))[:, None]  # [M, 1]
        columns: dict[str, Any] = {"task": name, "metric": _metric(rows)}
        for value in ("loss", "score"):
            each, low, high = (np.stack([one[value + end] for one in rows]) for end in ("", "_low", "_high"))  # [M, T]
            mean = (shares * each).sum(axis=0)
            below, above = (np.sqrt((shares**2 * (each - end) ** 2).sum(axis=0)) for end in (low, high))
            columns |= {value: mean, f"{value}_low": mean - below, f"{value}_high": mean + above}
        counts = {count: sum(one[count] for one in rows) for count in ("num_examples", "num_tokens")}
        tables.append(first.assign(**columns, **counts))
    return pd.concat(tables, ignore_index=True).reindex(columns=list(frame.columns))


def mixed_curve(curves: Mapping[str, Interpolant], weights: Weights) -> Interpolant | None:
    """The weighted mean of resolved profiles; None if a task was not resolved.

    Args:
        curves: Task -> its mean loss as a function of t, on one path.
        weights: Task -> weight.
    """
    if not set(weights) <= set(curves):
        return None
    weighted = [[weight * piece for piece in curves[task].pieces] for task, weight in weights.items()]
    return Interpolant([reduce(operator.add, own) for own in zip(*weighted, strict=True)])


def expanded(weights: Weights | None, tasks: list[str], mixtures: Mapping[str, Weights], name: str) -> Weights:
    """Positive weights of measured tasks that sum to 1.

    Args:
        weights: Task, or mixture, -> weight; None weighs all measured tasks alike.
        tasks: The tasks and mixtures that a path has.
        mixtures: Those that are mixtures -> their weights.
        name: What the new mixture is to be called.

    Raises:
        EvaluationError: If a weight is not positive, a task is not there, or the name is taken.
    """
    given = dict.fromkeys([task for task in tasks if task not in mixtures], 1.0) if weights is None else weights
    if name in tasks:
        raise EvaluationError(
            f"a mixture cannot be called {name!r}",
            expected="a name that no task of the profile has",
            got=listed(tasks),
            remedy='give another name="..."',
        )
    missing = sorted(set(given) - set(tasks))
    if missing or not given:
        raise EvaluationError(
            f"the mixture {name!r} is of tasks that were not measured",
            expected=f"some of {listed(tasks)}",
            got=listed(missing) if missing else "no task",
            remedy="name tasks of the profile, on every path of it",
        )
    wrong = {task: weight for task, weight in given.items() if not 0 < weight < np.inf}
    if wrong:
        raise EvaluationError(
            f"the mixture {name!r} has weights that are none",
            expected="positive, finite weights; they need not sum to 1",
            got=listed(f"{task}: {weight}" for task, weight in wrong.items()),
            remedy="leave out a task that is not to count",
        )
    found: dict[str, float] = {}
    for task, weight in given.items():
        for part, share in mixtures.get(task, {task: 1.0}).items():
            found[part] = found.get(part, 0.0) + weight * share / sum(given.values())
    return found


def _metric(rows: list[pd.DataFrame]) -> str:
    """What the score of a mixture means."""
    names = sorted({str(one["metric"].iloc[0]) for one in rows})
    return names[0] if len(names) == 1 else "mean of " + ", ".join(names)


def _check_together(rows: list[pd.DataFrame], name: str) -> None:
    """Raise unless tasks were measured at the same positions and on the same split."""
    for column, what in (("t", "positions"), ("split", "splits")):
        found = [one[column].tolist() for one in rows]
        if any(one != found[0] for one in found):
            raise EvaluationError(
                f"the tasks of the mixture {name!r} were measured at different {what}",
                expected=f"the same {what} for every task",
                got=listed(f"{one['task'].iloc[0]} has {len(one)} from {one[column].iloc[0]}" for one in rows),
                remedy="evaluate the tasks together",
            )
