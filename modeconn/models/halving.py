"""Batches that do not fit into the memory are taken in halves."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from modeconn.errors import ModelError

_Result = TypeVar("_Result")
_ON_CPU = "DefaultCPUAllocator"  # in the message of the error, which is a plain RuntimeError


def in_halves(
    run: Callable[[Sequence[int]], _Result], rows: Sequence[int], length: Callable[[int], int]
) -> list[_Result]:
    """What a function gives for some rows; where they do not fit into the memory, for each half of them.

    Args:
        run: Takes rows; it is called again with fewer of them where the memory was too small.
        rows: Numbers of rows, at least one.
        length: The tokens of a row, for the message.

    Returns:
        One result, or more, in the order of the rows.

    Raises:
        ModelError: If a single row does not fit.

    Example:
        >>> in_halves(sum, [1, 2, 3], length=lambda row: row)
        [6]
    """
    try:
        return [run(rows)]
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        if len(rows) == 1:
            raise _too_long(length(rows[0]), error) from error
    # Not before the error is forgotten: it holds what the failed call has allocated.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = len(rows) // 2
    return [*in_halves(run, rows[:middle], length), *in_halves(run, rows[middle:], length)]


def _is_out_of_memory(error: Exception) -> bool:
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
