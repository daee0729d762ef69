"""Batches that do not fit into the memory are taken in halves."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from modeconn.errors import ModelError
from modeconn.models.batch_room import Room

_Result = TypeVar("_Result")
_ON_CPU = "DefaultCPUAllocator"  # in the message of the error, which is a plain RuntimeError


def in_halves(
    run: Callable[[Sequence[int]], _Result],
    rows: Sequence[int],
    length: Callable[[int], int],
    *,
    room: Room | None = None,
    size: Callable[[Sequence[int]], int] | None = None,
) -> list[_Result]:
    """What a function gives for some rows; where they do not fit into the memory, for each half of them.

    Args:
        run: Takes rows; it is called again with fewer of them where the memory was too small.
        rows: Numbers of rows, at least one.
        length: The tokens of a row, for the message.
        room: What is known not to fit is halved untried; what turns out not to fit is remembered there.
        size: The tokens of some rows together; by default those of the longest, times the rows.

    Returns:
        One result, or more, in the order of the rows.

    Raises:
        ModelError: If a single row does not fit, into the memory or the room.

    Example:
        >>> in_halves(sum, [1, 2, 3], length=lambda row: row)
        [6]
    """
    room = Room() if room is None else room
    tokens = size(rows) if size is not None else len(rows) * max(map(length, rows))
    if len(rows) == 1:
        room.check_row(tokens)
    if len(rows) == 1 or room.takes(tokens):
        try:
            return [run(rows)]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(rows) == 1:
                raise _too_long(length(rows[0]), error) from error
        # Not before the error is forgotten: it holds what the failed call has allocated.
        room.learned.refused(tokens)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    middle = len(rows) // 2
    halves = (rows[:middle], rows[middle:])
    return [one for half in halves for one in in_halves(run, half, length, room=room, size=size)]


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that there is too little memory, on whatever device."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or _ON_CPU in str(error)


def _too_long(length: int, error: Exception) -> ModelError:
    """The error of a row that does not fit alone."""
    first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ModelError(
        f"a row of {length} tokens does not fit into the memory",
        expected="memory for a batch of one row",
        got=first_line[:200],
        remedy=f"give a max_length below {length} (--max-length), a narrower dtype (--dtype bfloat16), or a device with"
        " more memory",
    )
