"""Barriers with their intervals and tests as a table, from a profile's means and per-example records."""

from collections.abc import Mapping
from typing import cast, get_args

import numpy as np
import pandas as pd

from modeconn.evaluation.barrier import Baseline, barrier
from modeconn.evaluation.barrier_interval import FEW_EFFECTIVE, barrier_interval
from modeconn.evaluation.interpolant import Interpolant
from modeconn.evaluation.intervals import MIN_EXAMPLES
from modeconn.evaluation.multiplicity import holm
from modeconn.evaluation.paired import Metric, check_metric, paired_records

BARRIER_COLUMNS = (
    "path", "space", "task", "metric", "baseline", "barrier", "low", "high", "t_at_max", "num_points",
    "num_examples", "estimate_corrected", "p_value", "p_holm", "num_effective",
)  # fmt: skip
Curves = Mapping[tuple[str, str], Interpolant]


def barrier_table(
    frame: pd.DataFrame,
    examples: pd.DataFrame,
    *,
    metric: Metric = "loss",
    curves: Curves | None = None,
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """The barrier of every path and task against both baselines.

    Args:
        frame: A profile's table.
        examples: Its per-example records.
        metric: "loss", or "score" for the barrier of the error `1 - score`.
        curves: (path, task) -> the mean loss between the positions, where it was resolved.
        confidence: That of the intervals.
        num_resamples: Resamples of the examples.
        seed: Of the resampling, the same for every row.

    Returns:
        One row for each path, task and baseline, with the columns of barriers.csv. What needs examples is missing
        where there are fewer than 8. `p_holm` is adjusted over the paths and tasks of one baseline.

    Raises:
        EvaluationError: If the metric is unknown, the positions do not cover a path, or a setting is out of range.
    """
    check_metric(metric)
    records = {cast(tuple[str, str], key): rows for key, rows in examples.groupby(["path", "task"], sort=False)}
    rows = []
    for key, group in frame.groupby(["path", "space", "task"], sort=False):
        path, space, task = cast(tuple[str, str, str], key)
        curve = (curves or {}).get((path, task)) if metric == "loss" else None
        t, height = group["t"].to_numpy(), (group["loss"] if metric == "loss" else 1 - group["score"]).to_numpy()
        own = records.get((path, task))
        sums, tokens = paired_records(own, metric) if own is not None else (np.empty((0, len(t))), np.empty(0))
        for baseline in get_args(Baseline):
            at_positions = barrier(t, height, baseline=baseline)
            found = curve.barrier(baseline) if curve else at_positions
            rows.append((
                path, space, task, metric, baseline, found.height, found.t, len(group), group["num_examples"].iloc[0],
                *_known(*_between(t, sums, curve, found.t), tokens, baseline, confidence, num_resamples, seed),
            ))  # fmt: skip
    names = ["path", "space", "task", "metric", "baseline", "barrier", "t_at_max", "num_points", "num_examples"]
    table = pd.DataFrame(rows, columns=[*names, "low", "high", "estimate_corrected", "p_value", "num_effective"])
    return with_holm(table)


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
    for row in table.to_dict(orient="records"):
        barrier_of = f"{row['metric']} barrier of {row['task']} on {row['path']}"
        if row["baseline"] != "chord":
            continue
        if row["num_examples"] < MIN_EXAMPLES:
            found.append(f"{barrier_of}: {row['num_examples']} examples are too few for an interval")
        elif row["num_effective"] < FEW_EFFECTIVE:
            found.append(
                f"{barrier_of}: about {row['num_effective']:.1f} of {row['num_examples']} examples carry its variance,"
                " so that its interval may be too short"
            )
    return found


def _between(t: np.ndarray, sums: np.ndarray, curve: Interpolant | None, top: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions and sums; of a resolved profile at its maximum and half-way between the nodes, too.

    The interpolant is linear in the losses: interpolating every example's sums gives the interpolant of the mean.
    """
    if curve is None:
        return t, sums
    fine = np.unique([*t, *((t[1:] + t[:-1]) / 2), top])
    values = np.empty((len(sums), len(fine)))
    for piece in curve.pieces:
        low, high = piece.domain
        nodes = (t >= low) & (t <= high)
        here = (fine >= low) & (fine <= high)
        values[:, here] = sums[:, nodes] @ _interpolation(t[nodes], fine[here], low, high).T
    return fine, values


def _interpolation(nodes: np.ndarray, fine: np.ndarray, low: float, high: float) -> np.ndarray:
    """The matrix `[fine, nodes]` of the polynomial through Chebyshev nodes."""
    degree = len(nodes) - 1
    at_nodes, at_fine = (np.polynomial.chebyshev.chebvander(2 * (x - low) / (high - low) - 1, degree)
                         for x in (nodes, fine))  # fmt: skip
    return np.linalg.solve(at_nodes.T, at_fine.T).T


def _known(
    t: np.ndarray, sums: np.ndarray, tokens: np.ndarray, baseline: Baseline, confidence: float, num_resamples: int,
    seed: int,
) -> tuple[float, float, float, float, float]:  # fmt: skip
    """Low, high, corrected estimate, p-value and number of effective examples; missing below 8 examples."""
    if len(sums) < MIN_EXAMPLES:
        return np.nan, np.nan, np.nan, np.nan, np.nan
    found = barrier_interval(
        t, sums, tokens, baseline=baseline, confidence=confidence, num_resamples=num_resamples, seed=seed
    )
    return found.low, found.high, found.corrected, found.p_value, found.num_effective
