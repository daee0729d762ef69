"""Who does which part of a piece of work: everything alone, or every process its share."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np

Item = TypeVar("Item")
T = TypeVar("T")
RowScores = tuple[np.ndarray, np.ndarray]  # `[R]` losses in nats, `[R]` scores


class Share(Protocol):
    """The results of work on every item, `[N] -> [N]`, the same for all who take part (see `Processes.share`)."""

    def __call__(self, items: Sequence[Item], work: Callable[[Item], T], /) -> list[T]:
        """Do one's own part, and get all results."""
        ...


def alone(items: Sequence[Item], work: Callable[[Item], T], /) -> list[T]:
    """All the work, done by oneself.

    Example:
        >>> alone([1, 2, 3], lambda number: number**2)
        [1, 4, 9]
    """
    return [work(item) for item in items]
