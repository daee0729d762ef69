"""Which of the things that a column names are drawn."""

from collections.abc import Sequence

import pandas as pd

from modeconn.errors import RunError, listed


def chosen_names(frame: pd.DataFrame, column: str, names: Sequence[str] | None, *, figure: str) -> list[str]:
    """The names to draw, in the order of the table: those that are asked for, all by default.

    Args:
        frame: The table.
        column: The column that holds the names.
        names: Which.
        figure: What is drawn, for the message.

    Raises:
        RunError: A name that is not in the column, or none at all.
    """
    present = frame[column].drop_duplicates().tolist()
    if names is None:
        return present
    unknown = [name for name in names if name not in present]
    if isinstance(names, str) or unknown or not names:
        raise RunError(
            f"cannot draw {figure} of these {column}s",
            expected=f"names in the column {column}: a list of {column}s out of {listed(map(str, present))}",
            got=repr(names),
            remedy=f"pass {column}s= with names as they stand in the column {column}",
        )
    return [name for name in present if name in names]
