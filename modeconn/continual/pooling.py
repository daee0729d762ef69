"""Training splits of several tasks as one."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from modeconn.models.encoded import EncodedTask
from modeconn.tasks.rows import EncodedRows


def pooled(splits: Sequence[EncodedTask]) -> EncodedTask:
    """All rows of splits that have one row an example, as one split; each row keeps its own task's classes.

    Args:
        splits: Splits as training reads them.
    """
    splits = [_with_own_classes(one) for one in splits]
    if len(splits) == 1:
        return splits[0]
    starts = [0, *accumulate(one.num_examples for one in splits)]
    rows = [
        replace(row, example=row.example + start)
        for one, start in zip(splits, starts, strict=False)
        for row in one.rows.rows
    ]
    return replace(
        splits[0],
        task="+".join(one.task for one in splits),
        rows=EncodedRows(
            tuple(rows),
            tuple(answer for one in splits for answer in one.rows.answers),
            sum(one.rows.num_truncated for one in splits),
        ),
        batches=tuple(batch for one in splits for batch in one.batches),
        order=tuple(row + start for one, start in zip(splits, starts, strict=False) for row in one.order),
        allowed=None,  # any class of any task
        questions=None,
    )


def _with_own_classes(split: EncodedTask) -> EncodedTask:
    """A split whose rows know which classes may be their answer, where the split does."""
    if split.allowed is None:
        return split
    rows = tuple(replace(row, allowed=split.allowed) for row in split.rows.rows)
    return replace(split, rows=replace(split.rows, rows=rows))
