"""Tables of studies that grow run by run, so that a study can be stopped and taken up at any time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats


def append(rows: pd.DataFrame, file: Path) -> None:
    """Add rows to a table that may be there."""
    if len(rows):
        former = [pd.read_csv(file)] if file.exists() else []
        pd.concat([*former, rows], ignore_index=True).to_csv(file, index=False, float_format="%.6g")


def finished(file: Path, keys: Sequence[str]) -> set[tuple[Any, ...]]:
    """The runs that stand in a table, by what names them."""
    return set(pd.read_csv(file)[list(keys)].itertuples(index=False, name=None)) if file.exists() else set()


def half_width(values: pd.Series, level: float = 0.95) -> float:
    """Of the interval of a mean by Student's t; NaN for one value."""
    if len(values) < 2:
        return float("nan")
    return float(stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)


def over_runs(rows: pd.DataFrame, keys: Sequence[str], measures: Sequence[str]) -> pd.DataFrame:
    """Mean and half-width of every measure, one row for each of what the keys name.

    Args:
        rows: One row a run.
        keys: Columns that name what runs belong to.
        measures: Columns to be averaged.
    """
    found = []
    for key, own in rows.groupby(list(keys), sort=False):
        cells = dict(zip(keys, key, strict=True)) | {"runs": len(own)}
        for name in measures:
            cells |= {name: own[name].mean(), f"{name}_half_width": half_width(own[name])}
        found.append(cells)
    return pd.DataFrame(found)
