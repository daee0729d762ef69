"""Barriers with their intervals and tests as a table, from a profile's means and per-example records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from modeconn.evaluation.barrier_interval import interval_over_tasks
from modeconn.evaluation.between_nodes import integral_weights, interpolated
from modeconn.evaluation.definitions import Definition, check_definition, measured, pointwise
from modeconn.evaluation.interpolant import Interpolant
from modeconn.evaluation.intervals import MIN_EXAMPLES
from modeconn.evaluation.maximum_interval import FEW_EFFECTIVE
from modeconn.evaluation.multiplicity import holm
from modeconn.evaluation.paired import Metric, check_confidence, check_metric
from modeconn.evaluation.paired_records import parts_of, records_by_path
from modeconn.evaluation.ratios import Ratios

BARRIER_COLUMNS = (
    "path", "space", "task", "metric", "baseline", "barrier", "low", "high", "t_at_max", "num_points",
    "num_examples", "estimate_corrected", "p_value", "p_holm", "num_effective", "t_from", "t_to",
    "confidence",
)  # fmt: skip
BOTH: tuple[Definition, ...] = ("chord", "mean")
Curves = Mapping[tuple[str, str], Interpolant]
Mixtures = Mapping[tuple[str, str], Mapping[str, float]]


def barrier_table(
    frame: pd.DataFrame,
    examples: pd.DataFrame,
    *,
    metric: Metric = "loss",
    baselines: Sequence[Definition] = BOTH,
    curves: Curves | None = None,
    mixtures: Mixtures | None = None,
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """The barrier of every path and task by several definitions.

    Args:
        frame: A profile's table.
        examples: Its per-example records.
        metric: "loss", or "score" for the barrier of the error `1 - score`.
        baselines: The definitions, see `barrier_interval`.
        curves: (path, task) -> the mean loss between the positions, where it was resolved.
        mixtures: (path, task) -> the weights of the tasks that it is the mean of, where it is one.
        confidence: That of the intervals.
        num_resamples: Resamples of the examples.
        seed: Of the resampling, the same for every row.

    Returns:
        One row for each path, task and definition, with the columns of barriers.csv. What needs examples is missing
        where there are fewer than 8. `p_holm` is adjusted over the paths and tasks of one definition.

    Raises:
        EvaluationError: If the metric or a definition is unknown, the positions do not cover a path, an example has a
            value that is not finite, or a setting is out of range.
    """
    check_metric(metric)
    check_confidence(confidence, num_resamples)
    for baseline in baselines:
        check_definition(baseline)
    by_path = records_by_path(examples)
    known = {} if curves is None or metric != "loss" else curves
    settings = {"confidence": confidence, "num_resamples": num_resamples, "seed": seed}
    rows = []
    for key, group in frame.groupby(["path", "space", "task"], sort=False):
        path, space, task = cast(tuple[str, str, str], key)
        weights = (mixtures or {}).get((path, task), {task: 1.0})
        t, height = (
            group["t"].to_numpy(dtype=float),
            (group["loss"] if metric == "loss" else 1 - group["score"]).to_numpy(),
        )
        parts = parts_of(by_path.get(path, {}), weights, metric, t)
        curves_of_parts = {one: known[path, one] for one in weights if (path, one) in known}
        row = _Row(t, height, parts, known.get((path, task)), curves_of_parts)
        names = {"path": path, "space": space, "task": task, "metric": metric, "confidence": confidence}
        counts = {"num_points": len(group), "num_examples": group["num_examples"].iloc[0]}
        found = row.barriers(baselines, settings)
        rows += [names | {"baseline": baseline} | counts | found[baseline] for baseline in baselines]
    return with_holm(pd.DataFrame(rows, columns=[name for name in BARRIER_COLUMNS if name != "p_holm"]))


def with_holm(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `p_holm`: p-values adjusted over the paths and tasks of one metric and baseline.

    Args:
        table: One row a barrier, with `p_value`; an older `p_holm` is replaced.
    """
    adjusted = pd.Series(np.nan, index=table.index)
    for _, group in table.groupby(["metric", "baseline"], sort=False):
        adjusted[group.index] = holm(group["p_value"].to_numpy())
    return table.assign(p_holm=adjusted).reindex(columns=list(BARRIER_COLUMNS))


def remarks(table: pd.DataFrame) -> list[str]:
    """What a reader of a barrier table should know: which intervals may be too short, and which are missing.

    Args:
        table: From `barrier_table`.

    Returns:
        One sentence for each path, task and metric concerned.
    """
    found = []
    for row in table.drop_duplicates(["path", "task", "metric"]).to_dict(orient="records"):
        barrier_of = f"{row['metric']} barrier of {row['task']} on {row['path']}"
        if row["num_examples"] < MIN_EXAMPLES:
            found.append(f"{barrier_of}: {row['num_examples']} examples are too few for an interval")
        elif pd.isna(row["low"]):
            found.append(f"{barrier_of}: no interval without the records of {MIN_EXAMPLES} examples of every task")
        elif row["num_effective"] < FEW_EFFECTIVE:
            found.append(
                f"{barrier_of}: about {row['num_effective']:.1f} of {row['num_examples']} examples carry its variance,"
                " so that its interval may be too short"
            )
    return found


@dataclass(frozen=True)
class _Row:
    """What is known of one path and task.

    Attributes:
        t: `[T]`.
        height: `[T]`, mean loss or error.
        parts: Task -> sums and tokens, of the task itself or of those that it is the mean of; None if too few.
        curve: The mean loss as a function of t, if it was resolved.
        curves: Those of the parts, where it was.
    """

    t: np.ndarray
    height: np.ndarray
    parts: Mapping[str, Ratios] | None
    curve: Interpolant | None
    curves: Mapping[str, Interpolant]

    def barriers(
        self, baselines: Sequence[Definition], settings: Mapping[str, Any]
    ) -> dict[Definition, dict[str, float]]:
        """The columns of every definition; what is one number under two names is computed once."""
        kinds: dict[Definition, Definition] = {one: pointwise(one) or one for one in baselines}
        found = {kind: self.barrier(kind, settings) for kind in dict.fromkeys(kinds.values())}
        return {baseline: found[kind] for baseline, kind in kinds.items()}

    def barrier(self, baseline: Definition, settings: Mapping[str, Any]) -> dict[str, float]:
        """The columns of one definition, missing values left out."""
        top = measured(baseline, self.t, self.height, self.curve)
        columns = {"barrier": top.height, "t_at_max": top.t, "t_from": top.start, "t_to": top.end}
        if self.parts is None:
            return columns
        t, averages = self.t, None
        parts = list(self.parts.values())
        if self.curve and baseline == "average":
            averages = [integral_weights(self.curves[task], self.t) for task in self.parts]
        elif self.curve:
            # The parts of a path are so many that the positions between the nodes are left to the means.
            between = [] if baseline == "convexity" else (self.t[1:] + self.t[:-1]) / 2
            t = np.unique([*self.t, *between, *top[1:]])
            parts = [
                part._replace(numerator=interpolated(self.curves[task], self.t, part.numerator, t))
                for task, part in self.parts.items()
            ]
        found = interval_over_tasks(t, parts, baseline=baseline, averages=averages, **settings)
        return columns | {
            "low": found.low,
            "high": found.high,
            "estimate_corrected": found.corrected,
            "p_value": found.p_value,
            "num_effective": found.num_effective,
        }
