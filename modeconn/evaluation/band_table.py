"""Bands of whole profiles as a table, from per-example records."""

from collections.abc import Mapping
from typing import Any, cast

import pandas as pd

from modeconn.evaluation.bands import Above, band_over_tasks, check_above
from modeconn.evaluation.barrier import check_positions
from modeconn.evaluation.paired import Metric, check_confidence, check_metric
from modeconn.evaluation.paired_records import parts_of, records_by_path

BAND_COLUMNS = ("path", "space", "task", "metric", "above", "t", "value", "low", "high", "critical", "confidence")


def band_table(
    frame: pd.DataFrame,
    examples: pd.DataFrame,
    *,
    metric: Metric = "loss",
    above: Above = "nothing",
    mixtures: Mapping[tuple[str, str], Mapping[str, float]] | None = None,
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """The band of every path and task that has at least 8 examples.

    Args:
        frame: A profile's table.
        examples: Its per-example records.
        metric: "loss", or "score" for the error `1 - score`.
        above: "nothing", or the baseline that is subtracted.
        mixtures: (path, task) -> the weights of the tasks that it is the mean of, where it is one.
        confidence: That of each band.
        num_resamples: Resamples of the examples.
        seed: Of the resampling.

    Returns:
        One row for each path, task and position, with `BAND_COLUMNS`.

    Raises:
        EvaluationError: If the metric or the baseline is unknown, an example has a value that is not finite, or a
            setting is out of range.
    """
    check_metric(metric)
    check_above(above)
    check_confidence(confidence, num_resamples)
    by_path = records_by_path(examples)
    settings: dict[str, Any] = {"confidence": confidence, "num_resamples": num_resamples, "seed": seed}
    tables = []
    for key, group in frame.groupby(["path", "space", "task"], sort=False):
        path, space, task = cast(tuple[str, str, str], key)
        weights = (mixtures or {}).get((path, task), {task: 1.0})
        t = group["t"].to_numpy(dtype=float)
        parts = parts_of(by_path.get(path, {}), weights, metric, t)
        if parts is None:
            continue
        positions = t if above == "nothing" else check_positions(t)
        band = band_over_tasks(positions, list(parts.values()), above=above, **settings)
        names = {"path": path, "space": space, "task": task, "metric": metric, "above": above}
        numbers = {"t": t, "value": band.value, "low": band.low, "high": band.high, "critical": band.critical}
        tables.append(pd.DataFrame(names | numbers | {"confidence": confidence}))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(BAND_COLUMNS))
