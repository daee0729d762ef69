"""Rows and numbers out of the tables."""

import numpy as np
import pandas as pd


def rows_of(frame: pd.DataFrame, **values: str) -> pd.DataFrame:
    """The rows that have given values in given columns; none of a table without rows."""
    mask = np.ones(len(frame), dtype=bool)
    for column, value in values.items() if len(frame) else ():
        mask &= (frame[column] == value).to_numpy(dtype=bool)
    return frame.take(np.flatnonzero(mask))


def numbers(frame: pd.DataFrame, column: str) -> np.ndarray:
    """A column in float64, `[rows]`; NaN where a number is missing, nothing of a table without rows."""
    return frame[column].to_numpy(dtype=np.float64, na_value=np.nan) if len(frame) else np.zeros(0)


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> float:
    """The weighted mean of the numbers that are there, `[N], [N]`; NaN of none.

    Example:
        >>> weighted_mean(np.array([1.0, np.nan, 4.0]), np.array([1.0, 5.0, 2.0]))
        3.0
    """
    there = ~np.isnan(values) & (weights > 0)
    return float((values[there] * weights[there]).sum() / weights[there].sum()) if there.any() else float("nan")
