"""Which part of an optimiser step a batch is."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

import torch

from modeconn.models.encoded import Batch
from modeconn.models.family import IGNORED

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """A batch's parts of all rows of its sort in a step, each in (0, 1].

    Attributes:
        rows: Of the examples.
        targets: Of the scored tokens.
        positions: Of the positions with text that the last layers see (see `text_positions`).
        first: How many rows of its sort stand before it in the step.
    """

    rows: float
    targets: float
    positions: float
    first: int = 0


def parted(
    rows: Sequence[T], *, size: int, count: int, cost: Callable[[T], int] = lambda _: 0, budget: int | None = None
) -> list[Sequence[T]]:
    """Rows as batches of at most `size`, each cut into `count` parts that processes read side by side; none is empty.

    Args:
        rows: The rows of a step.
        size: Rows a batch.
        count: Processes.
        cost: The tokens of a row.
        budget: Tokens a part: what would hold more is cut on. A row of more tokens is a part of its own.

    Example:
        >>> parted("abcdefg", size=4, count=2)
        ['ab', 'cd', 'ef', 'g']
        >>> parted([3, 4, 1, 9, 2], size=4, count=1, cost=int, budget=5)
        [[3], [4, 1], [9], [2]]
    """
    step = -(-size // count)
    batches = [rows[first : first + size] for first in range(0, len(rows), size)]
    parts = [batch[first : first + step] for batch in batches for first in range(0, len(batch), step)]
    return parts if budget is None else [piece for part in parts for piece in _within(part, cost, budget)]


def _within(rows: Sequence[T], cost: Callable[[T], int], budget: int) -> Iterator[Sequence[T]]:
    """Pieces of rows that cost at most the budget, or are one row."""
    first, spent = 0, 0
    for number, row in enumerate(rows):
        if number > first and spent + cost(row) > budget:
            yield rows[first:number]
            first, spent = number, 0
        spent += cost(row)
    yield rows[first:]


def shares(batches: Sequence[Batch]) -> list[Share]:
    """The part of each batch among some."""
    counts = [
        (len(one.targets), int((one.targets != IGNORED).sum()), int(text_positions(one).sum())) for one in batches
    ]
    totals = [sum(column) for column in zip(*counts, strict=True)]
    starts = accumulate((row[0] for row in counts), initial=0)
    return [
        Share(*(count / total for count, total in zip(row, totals, strict=True)), first=first)
        for row, first in zip(counts, starts, strict=False)
    ]


def text_positions(batch: Batch, states: torch.Tensor | None = None) -> torch.Tensor:
    """`[B, L]`: the positions with text of a batch, `[1, T]` if packed; an encoder-decoder's are its decoder's.

    Args:
        batch: The batch.
        states: Hidden states `[B, L, D]` of a layer, whose positions are meant. Layers of some models of images have
            fewer than others; all of an image's count.
    """
    if states is not None and "pixel_values" in batch.inputs:
        return states.new_ones(states.shape[:2], dtype=torch.bool)
    if batch.packed is not None:
        return torch.ones_like(batch.inputs["input_ids"], dtype=torch.bool)
    if "decoder_input_ids" not in batch.inputs:
        return batch.inputs["attention_mask"].bool()
    answers = batch.targets != IGNORED  # [B, A], the last positions; before them what leads every answer
    leading = batch.inputs["decoder_input_ids"].shape[1] + 1 - answers.shape[1]
    return torch.cat([answers.new_ones(len(answers), leading), answers], dim=1)
