"""Tables on disk that read back as they were written, to the last bit."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def write_csv(frame: "pd.DataFrame", path: Path) -> None:
    """Writes a table as CSV: the shortest digits that give each float back, Unix line ends, missing empty."""
    frame.to_csv(path, index=False, lineterminator="\n", na_rep="", encoding="utf-8")


def read_csv(path: str | Path) -> "pd.DataFrame":
    """Reads a table that `write_csv` wrote.

    Only an empty cell is missing: a task may be named `NA` or `null`. Floats are read exactly; the usual
    reader of older pandas may be off in the last bit.

    Args:
        path: The CSV file.

    Returns:
        The table, floats bit-equal to those written.
    """
    import pandas as pd

    version = tuple(int(part) for part in pd.__version__.split(".")[:2])
    # From 3.1 on every reader is exact and the option is deprecated.
    exact: dict[str, Any] = {"float_precision": "round_trip"} if version < (3, 1) else {}
    return pd.read_csv(path, keep_default_na=False, na_values=[""], **exact)


def write_parquet(frame: "pd.DataFrame", path: Path) -> None:
    """Writes a table as parquet, types kept."""
    frame.to_parquet(path, index=False)
