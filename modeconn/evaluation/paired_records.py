"""Per-example records of a path as arrays, paired over its positions."""

from collections.abc import Mapping
from typing import NamedTuple, cast

import numpy as np
import pandas as pd

from modeconn.errors import EvaluationError
from modeconn.evaluation.intervals import MIN_EXAMPLES
from modeconn.evaluation.paired import Metric, smallest_step
from modeconn.evaluation.ratios import Ratios


class PairedRecords(NamedTuple):
    """What every example has at every position of one path, for one task.

    Attributes:
        numbers: `[N]`, the examples' numbers, increasing.
        t: `[T]`, increasing.
        sums: `[N, T]`, summed losses (nats), or errors `1 - score`.
        tokens: `[N]`, scored tokens; ones for errors.
    """

    numbers: np.ndarray
    t: np.ndarray
    sums: np.ndarray
    tokens: np.ndarray


def check_records(examples: pd.DataFrame) -> None:
    """Raise if an example has a loss or score that is not finite: a mean would be of the others, or of nothing.

    Args:
        examples: Per-example records of a profile.

    Raises:
        EvaluationError: Naming the examples of the first path, task and position that has any.
    """
    for column, what in (("loss_sum", "loss"), ("score", "score")):
        broken = examples.loc[~np.isfinite(examples[column].to_numpy(dtype=float))]
        if len(broken):
            path, task, t = broken.iloc[0][["path", "task", "t"]]
            here = broken.loc[(broken["path"] == path) & (broken["task"] == task) & (broken["t"] == t), "example"]
            raise EvaluationError(
                f"there is no mean {what} of {task} on {path} at t={t:g}",
                expected=f"a finite {what} of every example",
                got=f"{len(here)} NaN or infinite, at examples {', '.join(map(str, here.iloc[:10]))}",
                remedy="look at these examples; leave them out of all positions if they cannot be mended",
            )


def paired_records(records: pd.DataFrame, metric: Metric) -> PairedRecords:
    """Losses, or errors `1 - score`, as sums `[N, T]` with tokens `[N]`; positions and examples increasing.

    Args:
        records: Per-example records of one path and task.
        metric: "loss" or "score".

    Raises:
        EvaluationError: If a value is NaN, infinite or missing at a position: such examples are never averaged away.
    """
    value = "loss_sum" if metric == "loss" else "score"
    table = records.pivot(index="example", columns="t", values=value)
    sums, numbers, t = table.to_numpy(dtype=float), table.index.to_numpy(), table.columns.to_numpy(dtype=float)
    broken = ~np.isfinite(sums).all(axis=1)
    if broken.any():
        path, task = records["path"].iloc[0], records["task"].iloc[0]
        raise EvaluationError(
            f"examples of {task} on {path} have no {metric} at some positions",
            expected=f"a finite {metric} of every example at every position",
            got=f"{broken.sum()} of {len(sums)} examples with NaN, infinite or missing values, at examples "
            + ", ".join(map(str, numbers[broken][:10])),
            remedy="look at these examples; leave them out of all positions if they cannot be mended",
        )
    if metric == "score":
        return PairedRecords(numbers, t, 1 - sums, np.ones(len(sums)))
    return PairedRecords(numbers, t, sums, records.groupby("example")["num_tokens"].first().to_numpy(dtype=float))


def records_by_path(examples: pd.DataFrame) -> dict[str, dict[str, pd.DataFrame]]:
    """Path -> task -> per-example records."""
    found: dict[str, dict[str, pd.DataFrame]] = {}
    for key, rows in examples.groupby(["path", "task"], sort=False):
        path, task = cast(tuple[str, str], key)
        found.setdefault(path, {})[task] = rows
    return found


def parts_of(
    records: Mapping[str, pd.DataFrame], weights: Mapping[str, float], metric: Metric, t: np.ndarray
) -> dict[str, Ratios] | None:
    """The sums and tokens of the tasks of a mean, by task.

    Args:
        records: Task -> its per-example records on one path.
        weights: Task -> its weight in the mean.
        metric: "loss" or "score".
        t: `[T]`, the positions that a profile has.

    Returns:
        None if a task has no records or fewer than 8 examples.

    Raises:
        EvaluationError: If an example has no value at a position, or the records are of other positions.
    """
    found = {}
    for task, weight in weights.items():
        if task not in records:
            return None
        own = paired_records(records[task], metric)
        if not np.array_equal(own.t, t):
            raise EvaluationError(
                f"the records of {task} are not those of the profile",
                expected=f"records of every example at the {len(t)} positions of the table",
                got=f"records at {len(own.t)} positions",
                remedy="give the table and the records of one evaluation, positions in order",
            )
        found[task] = Ratios(own.sums, own.tokens, smallest_step(own.sums, own.tokens), weight)
    return found if all(len(part.denominator) >= MIN_EXAMPLES for part in found.values()) else None
