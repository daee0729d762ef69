"""How an evaluation tells how far it is."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from modeconn.models.point_model import Encoded

Progress = Callable[[int, int, str], None]
Item = TypeVar("Item")


def told(items: Iterable[Item], progress: Progress | None, what: str, *, total: int, done: int = 0) -> Iterator[Item]:
    """Items as they come, with how many there are told before each of them and after the last.

    Args:
        items: What is waited for.
        progress: Hears of it.
        what: What it is.
        total: How many will have come in the end.
        done: How many had come before.

    Yields:
        The items.
    """
    report = progress or _untold
    report(done, total, what)
    for number, item in enumerate(items, start=done + 1):
        yield item
        report(number, total, what)


def tell_tokens(progress: Progress | None, what: str, encoded: Sequence[Encoded]) -> None:
    """Tell progress that has an attribute `tokens`, a function of the same `what`, how many tokens a point has."""
    told = getattr(progress, "tokens", None)
    if told is not None:
        told(what, sum(num_tokens(one) for one in encoded))


def num_tokens(encoded: Encoded) -> int:
    """Tokens of all batches of a split, padding included; 0 where it is not made of tokens."""
    inputs = [batch.inputs for batch in getattr(encoded, "batches", ())]
    return sum(one["input_ids" if "input_ids" in one else "attention_mask"].numel() for one in inputs)  # of images


def _untold(done: int, total: int, what: str) -> None:
    """Takes progress and tells nobody."""
