"""The checks that a table must pass before it is drawn."""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from modeconn.errors import EvaluationError, RunError, listed


def require_columns(frame: pd.DataFrame, columns: Collection[str], *, figure: str) -> None:
    """A table to be drawn as `figure` has rows, the columns asked for, and no name missing in them.

    Args:
        frame: The table.
        columns: The columns that the figure reads.
        figure: What is drawn, for the message ("a profile").

    Raises:
        EvaluationError: A column is missing, or there is no row.
    """
    missing = set(columns) - set(frame.columns)
    if missing:
        raise EvaluationError(
            f"cannot draw {figure}: the table lacks columns",
            expected=f"the columns {listed(columns, limit=len(columns))}",
            got=f"no {listed(missing)}",
            remedy="pass the table as the run wrote it, or name its columns so",
        )
    if frame.empty:
        raise EvaluationError(
            f"cannot draw {figure}: the table is empty",
            expected="at least one row",
            got="0 rows",
            remedy="evaluate first, or loosen the selection that left no row",
        )


def require_names(frame: pd.DataFrame, columns: Sequence[str], *, figure: str) -> None:
    """No cell of the columns that name things is missing.

    Raises:
        EvaluationError: A name is missing.
    """
    gaps = [column for column in columns if frame[column].isna().to_numpy().any()]
    if gaps:
        raise EvaluationError(
            f"cannot draw {figure}: names are missing in the table",
            expected=f"a value in every row of {listed(columns)}",
            got=f"missing values in {listed(gaps)}",
            remedy="fill the column, or drop its rows",
        )


def numbers(frame: pd.DataFrame, column: str) -> np.ndarray:
    """A column as float64 `[rows]`; what is not a number is NaN."""
    values = pd.Series(pd.to_numeric(frame[column], errors="coerce"))
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


def rows_where(frame: pd.DataFrame, mask: np.ndarray) -> pd.DataFrame:
    """The rows for which a mask `[rows]` is true."""
    return frame.take(np.flatnonzero(mask))


def require_range(
    frame: pd.DataFrame, column: str, *, figure: str, keys: Sequence[str], low: float, high: float
) -> None:
    """Every value of a column is a finite number between `low` and `high`.

    Args:
        frame: The table.
        column: The column of numbers.
        figure: What is drawn, for the message.
        keys: The columns that tell which row is meant.
        low: Smallest value allowed, in the column's unit.
        high: Largest value allowed.

    Raises:
        EvaluationError: A value is missing, NaN, infinite or out of range; the message names the first ten.
    """
    values = numbers(frame, column)
    wrong = ~(np.isfinite(values) & (values >= low) & (values <= high))
    if not wrong.any():
        return
    where = [
        f"{column}={value} at " + ", ".join(f"{key}={row}" for key, row in zip(keys, names, strict=True))
        for value, names in zip(values[wrong], frame.loc[wrong, list(keys)].to_numpy(), strict=True)
    ]
    bounds = "finite numbers" if np.isinf([low, high]).any() else f"numbers from {low:g} to {high:g}"
    raise EvaluationError(
        f"cannot draw {figure}: {len(where)} of {len(frame)} values of {column} cannot be drawn",
        expected=bounds,
        got=listed(where),
        remedy="find out why the evaluation gave them; drop these rows only if you can say why",
    )


def require_single(frame: pd.DataFrame, keys: Sequence[str], *, figure: str) -> None:
    """Each combination of `keys` stands in one row only.

    Raises:
        EvaluationError: Rows that would be drawn on top of each other.
    """
    repeated = frame.loc[frame.duplicated(list(keys)), list(keys)].drop_duplicates()
    if repeated.empty:
        return
    names = [", ".join(f"{k}={v}" for k, v in zip(keys, row, strict=True)) for row in repeated.to_numpy()]
    raise EvaluationError(
        f"cannot draw {figure}: rows say the same thing twice",
        expected=f"one row for each {', '.join(keys)}",
        got=f"several for {listed(names)}",
        remedy="select one run's rows, or drop the repeated ones",
    )


def pick(frame: pd.DataFrame, column: str, value: str | int | None, *, figure: str, remedy: str) -> pd.DataFrame:
    """The rows with one value in a column; with `value=None` the column must hold one value only.

    Args:
        frame: The table.
        column: The column to select by.
        value: The value wanted, or None for the only one.
        figure: What is drawn, for the message.
        remedy: What to do when there are several.

    Raises:
        RunError: Several values and none chosen, or the value is not in the column.
    """
    present = frame[column].drop_duplicates().tolist()
    if value is None and len(present) == 1:
        return frame
    if value is None:
        raise RunError(
            f"cannot draw {figure}: the table holds {len(present)} values of {column}",
            expected=f"one {column}",
            got=listed(map(str, present)),
            remedy=remedy,
        )
    if value not in present:
        raise RunError(
            f"cannot draw {figure}: no row has {column}={value!r}",
            expected=f"one of {listed(map(str, present))}",
            got=repr(value),
            remedy=f"pass {column}= as it stands in the table",
        )
    return rows_where(frame, (frame[column] == value).to_numpy(dtype=bool))


def require_choice(name: str, value: object, allowed: Sequence[object]) -> None:
    """A setting has one of its allowed values.

    Raises:
        RunError: It has not.
    """
    if value not in allowed:
        raise RunError(
            f"cannot draw with {name}={value!r}",
            expected=f"{name} one of {', '.join(map(repr, allowed))}",
            got=repr(value),
            remedy=f"pass one of these as {name}=",
        )
