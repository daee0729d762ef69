"""Tables on stdout: ruled on a terminal, plain and complete when piped."""

import math
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

DECIMALS = 4


def print_table(frame: "pd.DataFrame", *, title: str = "") -> None:
    """Prints a table to stdout.

    On a terminal it is drawn with rules. In a pipe it is plain text, one line per row, columns aligned
    and two spaces apart, nothing cut off. Floats have four decimals, fewer where all of a column end in
    zeros; a number too small for them is written with its exponent. A missing value is empty.

    Args:
        frame: The table; its index is not shown.
        title: A line above the table.
    """
    columns = [_cells(frame.iloc[:, index]) for index in range(frame.shape[1])]
    names = [str(name) for name in frame.columns]
    numeric = [kind.kind in "iuf" for kind in frame.dtypes]
    if sys.stdout.isatty():
        _print_ruled(names, columns, numeric, title)
    else:
        print("\n".join(([title] if title else []) + _plain_lines(names, columns, numeric)))


def print_score_matrix(scores: "pd.DataFrame") -> None:
    """Prints a training run's scores, one row for each task trained on, one column for each task and metric.

    Args:
        scores: The table of scores.csv.
    """
    matrix = scores.pivot_table(index="after_task", columns=["task", "metric"], values="score", sort=False)
    matrix.columns = [f"{task} {metric}" for task, metric in matrix.columns]
    print_table(matrix.reset_index(), title="score matrix (row 0: before training; loss in nats per scored token)")


def _cells(column: "pd.Series") -> list[str]:
    """The texts of a column, floats to the same number of decimals."""
    missing = column.isna().to_list()
    values = column.to_list()
    if column.dtype.kind != "f":
        return ["" if gone else _one_line(value) for value, gone in zip(values, missing, strict=True)]
    texts = ["" if gone else _number(value) for value, gone in zip(values, missing, strict=True)]
    fixed = [text for text in texts if "." in text and "e" not in text]
    spare = min((len(text) - len(text.rstrip("0")) for text in fixed), default=0)
    return [text[: len(text) - spare].rstrip(".") if text in fixed else text for text in texts]


def _number(value: float) -> str:
    """A float to four decimals; with its exponent where they would show nothing or too much."""
    small = value != 0 and abs(value) < 0.5 * 10**-DECIMALS
    return f"{value:.1e}" if small or (math.isfinite(value) and abs(value) >= 1e9) else f"{value:.{DECIMALS}f}"


def _one_line(value: object) -> str:
    """A value's text without line breaks and tabs, which would break the rows."""
    if isinstance(value, float):
        text = _number(value)
        return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text
    return " ".join(str(value).split()) if isinstance(value, str) else str(value)


def _plain_lines(names: list[str], columns: list[list[str]], numeric: list[bool]) -> list[str]:
    """The rows as aligned text, the names first; numbers to the right, words to the left."""
    padded = []
    for name, cells, right in zip(names, columns, numeric, strict=True):
        width = max(len(text) for text in (name, *cells))
        padded.append([text.rjust(width) if right else text.ljust(width) for text in (name, *cells)])
    return ["  ".join(row).rstrip() for row in zip(*padded, strict=True)]


def _print_ruled(names: list[str], columns: list[list[str]], numeric: list[bool], title: str) -> None:
    """Draws the table on a terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left")
    for name, right in zip(names, numeric, strict=True):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in zip(*columns, strict=True):
        table.add_row(*row)
    Console(markup=False, highlight=False).print(table)
