"""A position chosen on one split and reported on another: what it gains over both ends."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from modeconn.errors import EvaluationError, listed
from modeconn.evaluation.maximum_interval import interval_of_maximum
from modeconn.evaluation.mean_interval import mean_intervals
from modeconn.evaluation.paired import Metric, check_confidence, check_metric
from modeconn.evaluation.paired_records import parts_of, records_by_path
from modeconn.evaluation.ratios import Ratios
from modeconn.evaluation.resampling import resampled_mixture
from modeconn.evaluation.trade_off import (
    MEAN,
    Best,
    Tasks,
    best_t,
    check_tasks_there,
    mean_rows,
    only_path,
    paths_of,
)

if TYPE_CHECKING:
    from modeconn.evaluation.profile import Profile

CHOSEN_COLUMNS = (
    "path", "space", "task", "metric", "split", "t", "quantity", "value", "low", "high", "p_value",
)  # fmt: skip
_SAME_PLACE = 1e-9  # positions that differ by rounding are one


@dataclass(frozen=True)
class ChosenT:
    """A position that was chosen on a validation split, with what it is worth on the test split.

    Attributes:
        t: The position.
        tasks: Whose mean was to be best.
        on_validation: The position with the mean there; the best of many, so better than it will be again.
        best_on_test: What a choice on the test split itself would have found; not to be reported as a result.
        table: One row for each task, and their mean, and quantity; see `choose_t`.
        confidence: That of the intervals.
    """

    t: float
    tasks: tuple[str, ...]
    on_validation: Best
    best_on_test: Best
    table: pd.DataFrame
    confidence: float

    @property
    def better_than_both(self) -> bool:
        """Whether the mean is better than at both ends by more than chance explains, on the test split."""
        rows = self.table.loc[(self.table["task"] == MEAN) & (self.table["quantity"] == "gain over both")]
        return bool((rows["low"] > 0).all())


def choose_t(
    validation: "Profile",
    test: "Profile",
    *,
    tasks: Tasks | None = None,
    metric: Metric = "score",
    path: str | None = None,
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> ChosenT:
    """The best position on one split, reported on another.

    The position is the one of `best_t` on the validation split. It is fixed before an example of the test split counts,
    so that nothing on the test split was selected, and the intervals need no correction for a choice. They are paired:
    one resample of a task's examples serves the position and both ends, and every task is resampled by itself.

    Args:
        validation: A profile of the validation split: `evaluate_path(..., split="eval")`.
        test: A profile of the test split, of the same path and tasks. It needs the chosen position and the ends only.
        tasks: The tasks, each with the same weight, or task -> weight; all that were measured by default.
        metric: "score", or "loss".
        path: The path's name, where the profiles have several.
        confidence: That of the intervals.
        num_resamples: Resamples of every task's examples.
        seed: Of the resampling.

    Returns:
        The position, and a table with path, space, task ("mean of tasks" for the mean), metric, split, t, quantity,
        value, low, high and p_value. The quantities are "at t" (the score, or loss, with its pointwise interval),
        "gain over start" and "gain over end" (positive is better; p of "no gain") and, of the mean, "gain over both"
        (over the better end) and "behind the best" (how far below the best position that the test profile has; a
        maximum, whose interval and test are those of `barrier_interval`). Intervals are missing below 8 examples of a
        task.

    Raises:
        EvaluationError: If both profiles are of one split, of different paths or tasks, the test profile lacks the
            chosen position, a name is unknown, or a setting is out of range.

    Example:
        Of a path, a model and tasks::

            validation = evaluate_path(path, model, tasks, split="eval")
            test = evaluate_path(path, model, tasks, t=[0, best_t(validation).t, 1], split="test")
            choose_t(validation, test).table
    """
    check_metric(metric)
    check_confidence(confidence, num_resamples)
    name = only_path(validation.frame, path)
    paths_of(test.frame, name)
    measured = validation.examples.loc[validation.examples["path"] == name, "task"].unique()
    weighted = tasks if tasks is not None else [str(task) for task in measured]
    chosen_tasks = tuple(weighted)
    rows = [one.frame.loc[one.frame["path"] == name] for one in (validation, test)]
    check_tasks_there(rows[1], chosen_tasks)
    _check_splits(*rows)
    _check_one_path(*rows)
    found = best_t(validation, tasks=weighted, metric=metric, path=name)
    on_test = mean_rows(test, weighted, name)
    settings: dict[str, Any] = {"num_resamples": num_resamples, "seed": seed}
    table = pd.concat([
        _quantities(on_test, task, metric, found.t, confidence, settings) for task in (*chosen_tasks, MEAN)
    ], ignore_index=True).reindex(columns=list(CHOSEN_COLUMNS))  # fmt: skip
    best = best_t(test, tasks=weighted, metric=metric, path=name)
    return ChosenT(found.t, chosen_tasks, found, best, table, confidence)


def _quantities(
    profile: "Profile", task: str, metric: Metric, t: float, confidence: float, settings: Mapping[str, Any]
) -> pd.DataFrame:
    """The rows of one task, or of the mean, of a profile of one path."""
    own = profile.frame.loc[profile.frame["task"] == task].reset_index(drop=True)
    place = _place(own["t"].to_numpy(dtype=float), t)
    at = own.iloc[place]
    rows = [{"quantity": "at t", "value": at[metric], "low": at[f"{metric}_low"], "high": at[f"{metric}_high"]}]
    values = own[metric].to_numpy() * (1 if metric == "score" else -1)  # more is better
    weights = profile.mixtures.get((at["path"], task), {task: 1.0})
    parts = parts_of(records_by_path(profile.examples)[at["path"]], weights, metric, own["t"].to_numpy(dtype=float))
    rows += _gains(values, parts, place, confidence, settings, is_mean=task == MEAN)
    same = {name: at[name] for name in ("path", "space", "task", "split")}
    return pd.DataFrame(rows).assign(**same, metric=metric, t=t)


def _gains(
    values: np.ndarray, parts: Mapping[str, Ratios] | None, place: int, confidence: float,
    settings: Mapping[str, Any], *, is_mean: bool,
) -> list[dict[str, Any]]:  # fmt: skip
    """The gains of a position over both ends; of the mean, over the better one, and how far the best is ahead."""
    ends = np.array([0, len(values) - 1])
    names = ("gain over start", "gain over end")
    rows: list[dict[str, Any]] = [
        {"quantity": name, "value": values[place] - values[end]} for name, end in zip(names, ends, strict=True)
    ]
    both = {"quantity": "gain over both", "value": values[place] - values[ends].max()}
    behind = {"quantity": "behind the best", "value": values.max() - values[place]}
    if parts is not None:
        sample = resampled_mixture(_better(parts, place, ends), certain=ends == place, **settings)
        smallest = min(len(part.denominator) for part in parts.values())
        usual = mean_intervals(sample, confidence=confidence, num_examples=smallest)
        # Either gain may be the smaller: its high end holds if those of both do.
        wide = mean_intervals(sample, confidence=(1 + confidence) / 2, num_examples=smallest)
        for number, row in enumerate(rows):
            row |= {"low": usual.low[number], "high": usual.high[number], "p_value": usual.p_value[number]}
        both |= {"low": usual.low.min(), "high": wide.high.min(), "p_value": usual.p_value.max()}
        everywhere = np.arange(len(values))
        ahead = [part._replace(numerator=-part.numerator) for part in _better(parts, place, everywhere)]
        found = interval_of_maximum(
            everywhere, resampled_mixture(ahead, certain=everywhere == place, **settings), confidence=confidence,
            num_examples=sum(len(part.denominator) for part in ahead), seed=settings["seed"],
        )  # fmt: skip
        behind |= {"low": found.low, "high": found.high, "p_value": found.p_value}
    return [*rows, both, behind] if is_mean else rows


def _better(parts: Mapping[str, Ratios], place: int, others: np.ndarray) -> list[Ratios]:
    """By how much losses or errors at other positions are above those at a place."""
    return [part._replace(numerator=part.numerator[:, others] - part.numerator[:, [place]]) for part in parts.values()]


def _place(t: np.ndarray, chosen: float) -> int:
    """Where a position is among others.

    Raises:
        EvaluationError: If it is not.
    """
    place = int(np.abs(t - chosen).argmin())
    if abs(t[place] - chosen) > _SAME_PLACE or t[0] != 0 or t[-1] != 1:
        raise EvaluationError(
            "the test profile lacks the position that was chosen on the validation split, or an end",
            expected=f"t = {chosen:.17g}, 0 and 1",
            got=f"{len(t)} positions from {t[0]:g} to {t[-1]:g}, the nearest t = {t[place]:g}",
            remedy=f"evaluate_path(..., t=[0, {chosen:.17g}, 1], split='test'), or the same positions on both splits",
        )
    return place


def _check_splits(validation: pd.DataFrame, test: pd.DataFrame) -> None:
    """Raise if a split is chosen and reported on."""
    both = set(validation["split"]) & set(test["split"])
    if both:
        raise EvaluationError(
            "a position cannot be chosen and reported on the same split",
            expected='two splits: evaluate_path(..., split="eval") to choose, split="test" to report',
            got=f"{listed(both)} twice",
            remedy="evaluate the other split; the best of many values on one split is better than it will be again",
        )


def _check_one_path(validation: pd.DataFrame, test: pd.DataFrame) -> None:
    """Raise if two profiles have a path of one name that is not one path."""
    one, other = (frame.groupby("t")["distance"].first() for frame in (validation, test))
    shared = one.index.intersection(other.index)
    spaces = set(validation["space"]) ^ set(test["space"])
    if spaces or not np.allclose(one[shared], other[shared], rtol=1e-5, atol=1e-8, equal_nan=True):
        raise EvaluationError(
            "the profiles are of different paths",
            expected="one path, evaluated on two splits",
            got="different spaces" if spaces else "other distances from the start at the same positions",
            remedy="evaluate the same path on both splits",
        )
