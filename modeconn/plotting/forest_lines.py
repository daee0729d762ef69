"""Which line of a forest plot says what: a heading for every path, a line for every task."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import pandas as pd

from . import lettering
from .profile_table import headline

_TIGHTER = 0.8  # a further line of one text is nearer than the next line of the plot
_GAP = 0.4  # above a heading


@dataclass(frozen=True)
class Line:
    """A heading, or the barrier in one row of the table.

    Attributes:
        text: A path, or a task; in one or several lines of text.
        row: The place of the row in the table; None for a heading.
    """

    text: str
    row: int | None

    @property
    def height(self) -> float:
        """What it takes, in heights of a line of the plot; a heading keeps its distance from what is above."""
        return 1 + _TIGHTER * self.text.count("\n") + (_GAP if self.row is None else 0.0)

    @property
    def middle(self) -> float:
        """From its upper edge to the middle of its text."""
        return self.height - (1 + _TIGHTER * self.text.count("\n")) / 2


def lines_of(rows: pd.DataFrame, *, width: float, label_width: float) -> list[list[Line]]:
    """The lines of every path: its heading and tasks; or the path alone, where all paths have one and the same task.

    Args:
        rows: Columns path, space, task.
        width: Inches that a heading may take.
        label_width: Inches that a label at the side may take.

    Returns:
        A list for each path and space, in the order of the table.
    """
    spaces = len(set(rows["space"])) > 1
    twice = bool(rows.duplicated(["path", "space"]).to_numpy().any())
    alone = len(rows) > 1 and len(set(rows["task"])) == 1 and not twice
    size = lettering.text_size()
    blocks = []
    for key, own in rows.reset_index(drop=True).groupby(["path", "space"], sort=False):
        path, space = cast(tuple[str, str], key)
        name = headline(path) + (f" ({space})" if spaces else "")
        labels = [name] if alone else own["task"].tolist()
        lines = [
            Line(lettering.wrapped(label, width=label_width, size=size), row)
            for label, row in zip(labels, own.index.tolist(), strict=True)
        ]
        heading = Line(lettering.wrapped(name, width=width, size=size, weight="bold"), None)
        blocks.append(lines if alone else [heading, *lines])
    return blocks


def in_columns(blocks: Sequence[Sequence[Line]], *, most: int, count: int) -> list[list[Line]]:
    """The blocks in columns side by side, as even as whole blocks allow: as few as hold `most` lines each.

    Args:
        blocks: From `lines_of`.
        most: Lines that one column may hold before there is a second.
        count: Columns at most.
    """
    tall = [heights(block) for block in blocks]
    across = min(count, len(blocks), math.ceil(sum(tall) / most))
    columns: list[list[Line]] = [[] for _ in range(across)]
    before = 0.0
    for block, height in zip(blocks, tall, strict=True):
        # A block stands where its middle falls.
        columns[min(int((before + height / 2) * across / sum(tall)), across - 1)].extend(block)
        before += height
    return [column for column in columns if column]


def heights(lines: Sequence[Line]) -> float:
    """What lines one under the other take."""
    return sum(line.height for line in lines)
