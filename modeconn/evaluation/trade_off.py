"""What a path gives of an old task and a new one at every position, and where the tasks together are served best."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from modeconn.errors import EvaluationError, listed
from modeconn.evaluation.paired import Metric, check_metric

if TYPE_CHECKING:
    from modeconn.evaluation.profile import Profile

TRADE_OFF_COLUMNS = (
    "path", "space", "old_task", "new_task", "metric", "t", "old", "old_low", "old_high", "new", "new_low", "new_high",
    "mean", "mean_low", "mean_high", "pareto",
)  # fmt: skip


Tasks = Sequence[str] | Mapping[str, float]


class Best(NamedTuple):
    """The position that serves some tasks best.

    Attributes:
        t: Where.
        value: The mean of the tasks' scores, or losses, there.
    """

    t: float
    value: float


def trade_off(
    profile: "Profile", *, old: str, new: str, metric: Metric = "score", path: str | None = None
) -> pd.DataFrame:
    """Old task against new task along a path.

    Args:
        profile: The profile.
        old: The task, or mixture, of the start.
        new: The task, or mixture, of the end.
        metric: "score", where more is better, or "loss", where less is.
        path: One path; all by default.

    Returns:
        One row for each path and position: path, space, old_task, new_task, metric, t, old, new and their mean, each
        with a pointwise interval in `_low` and `_high`, and pareto: whether no other position of the path is at least
        as good at both and better at one.

    Raises:
        EvaluationError: If metric, path or a task is unknown, or both tasks are one.

    Example:
        Of a profile from an old checkpoint to a new one::

            table = trade_off(profile, old="agnews", new="sst2")
            table[table["pareto"]]
    """
    check_metric(metric)
    chosen = paths_of(profile.frame, path)
    if old == new:
        raise EvaluationError(
            "a trade-off needs two tasks",
            expected="an old task and another, new one",
            got=f"{old!r} twice",
            remedy="name two tasks, or profile.mixture(...) of several",
        )
    tables = []
    for one in chosen:
        on_path = profile.frame.loc[profile.frame["path"] == one]
        check_tasks_there(on_path, [old, new])
        both = profile_of_path(profile, one).mixture({old: 1.0, new: 1.0}, name=f"mean of {old} and {new}")
        columns: dict[str, object] = {"old_task": old, "new_task": new, "metric": metric}
        for name, task in (("old", old), ("new", new), ("mean", f"mean of {old} and {new}")):
            rows = both.frame.loc[both.frame["task"] == task].reset_index(drop=True)
            columns |= {name + end: rows[metric + end] for end in ("", "_low", "_high")}
            columns |= {"path": one, "space": rows["space"], "t": rows["t"]}
        table = pd.DataFrame(columns)
        sign = 1 if metric == "score" else -1
        tables.append(table.assign(pareto=_pareto(sign * table[["old", "new"]].to_numpy())))
    return pd.concat(tables, ignore_index=True).reindex(columns=list(TRADE_OFF_COLUMNS))


def best_t(
    profile: "Profile", *, tasks: Tasks | None = None, metric: Metric = "score", path: str | None = None
) -> Best:
    """The measured position with the best mean of the tasks.

    Of several positions with one mean score it is that of the lowest mean loss, and then the first.

    The best of many noisy values looks better than it is: choose on one split and report on another, see `choose_t`.

    Args:
        profile: The profile.
        tasks: The tasks, each with the same weight, or task -> weight; all that were measured by default.
        metric: "score", or "loss".
        path: The path's name, where the profile has several.

    Raises:
        EvaluationError: If the metric or a task is unknown, a weight is not positive, or not one path is named.
    """
    check_metric(metric)
    rows = mean_rows(profile, tasks, only_path(profile.frame, path)).frame
    rows = rows.loc[rows["task"] == MEAN].reset_index(drop=True)
    sign = -1 if metric == "score" else 1
    # Means of the same scores may differ in their last digit with the order of the tasks.
    place = int(np.lexsort((rows["t"], rows["loss"], (sign * rows[metric]).round(12)))[0])
    return Best(float(rows["t"][place]), float(rows[metric][place]))


MEAN = "mean of tasks"


def mean_rows(profile: "Profile", tasks: Tasks | None, path: str) -> "Profile":
    """The profile of one path with the mean of some tasks under the name `MEAN`."""
    own = profile_of_path(profile, path)
    weights: Mapping[str, float] | None = None
    if tasks is not None:
        check_tasks_there(own.frame, list(tasks))
        weights = tasks if isinstance(tasks, Mapping) else dict.fromkeys(tasks, 1.0)
    return own.mixture(weights, name=MEAN)


def only_path(frame: pd.DataFrame, path: str | None) -> str:
    """The path that is meant.

    Raises:
        EvaluationError: If it is unknown, or there are several and none is named.
    """
    chosen = paths_of(frame, path)
    if len(chosen) != 1:
        raise EvaluationError(
            "the profile has several paths",
            expected="one path",
            got=listed(chosen),
            remedy="name it: path=...",
        )
    return chosen[0]


def paths_of(frame: pd.DataFrame, path: str | None) -> list[str]:
    """One path, or all.

    Raises:
        EvaluationError: If it is unknown.
    """
    there = [str(one) for one in frame["path"].unique()]
    if path is not None and path not in there:
        raise EvaluationError(
            f"the profile has no path {path!r}",
            expected=f"one of {listed(there)}",
            got=repr(path),
            remedy="name a path of the profile",
        )
    return there if path is None else [path]


def check_tasks_there(frame: pd.DataFrame, tasks: Sequence[str]) -> None:
    """Raise unless a table has all tasks, each named once.

    Raises:
        EvaluationError: If it has not.
    """
    there = list(frame["task"].unique())
    if not set(tasks) <= set(there) or not tasks or len(set(tasks)) < len(tasks):
        raise EvaluationError(
            "these are not tasks of the profile",
            expected=f"some of {listed(there)}, each once",
            got=listed(tasks),
            remedy="name tasks that were measured on the path",
        )


def profile_of_path(profile: "Profile", path: str) -> "Profile":
    """The part of a profile that is of one path."""
    parts = {name: frame.loc[frame["path"] == path].reset_index(drop=True) for name, frame in (
        ("frame", profile.frame), ("examples", profile.examples))}  # fmt: skip
    curves = {key: curve for key, curve in profile.curves.items() if key[0] == path}
    mixtures = {key: weights for key, weights in profile.mixtures.items() if key[0] == path}
    return type(profile)(**parts, curves=curves, mixtures=mixtures)


def _pareto(values: np.ndarray) -> np.ndarray:
    """Which rows of `[T, 2]`, more being better, no other row beats, `[T]`."""
    at_least = np.all(values[None] >= values[:, None], axis=2)  # [T, T], column against row
    better = np.any(values[None] > values[:, None], axis=2)
    return np.asarray(~np.any(at_least & better, axis=1))
