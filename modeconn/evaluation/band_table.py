"""Bands of whole profiles as a table, from per-example records."""

from typing import cast

import numpy as np
import pandas as pd

from modeconn.evaluation.bands import Above, profile_band
from modeconn.evaluation.intervals import MIN_EXAMPLES
from modeconn.evaluation.paired import Metric, check_metric, paired_records

BAND_COLUMNS = ("path", "space", "task", "metric", "above", "t", "value", "low", "high", "critical")


def band_table(
    frame: pd.DataFrame,
    examples: pd.DataFrame,
    *,
    metric: Metric = "loss",
    above: Above = "nothing",
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
        confidence: That of each band.
        num_resamples: Resamples of the examples.
        seed: Of the resampling.

    Returns:
        One row for each path, task and position, with `BAND_COLUMNS`.

    Raises:
        EvaluationError: If the metric or the baseline is unknown, or a setting is out of range.
    """
    check_metric(metric)
    spaces = frame.groupby("path", sort=False)["space"].first()
    tables = []
    for key, records in examples.groupby(["path", "task"], sort=False):
        path, task = cast(tuple[str, str], key)
        sums, tokens = paired_records(records, metric)
        if len(sums) < MIN_EXAMPLES:
            continue
        t = np.unique(records["t"].to_numpy())
        band = profile_band(t, sums, tokens, above=above, confidence=confidence, num_resamples=num_resamples, seed=seed)
        names = {"path": path, "space": spaces[path], "task": task, "metric": metric, "above": above}
        numbers = {"t": t, "value": band.value, "low": band.low, "high": band.high, "critical": band.critical}
        tables.append(pd.DataFrame(names | numbers))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(BAND_COLUMNS))
