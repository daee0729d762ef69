"""How an evaluation tells how far it is."""

from collections.abc import Callable, Sequence

from modeconn.models.point_model import Encoded

Progress = Callable[[int, int, str], None]


def tell_tokens(progress: Progress | None, what: str, encoded: Sequence[Encoded]) -> None:
    """Tell progress that has an attribute `tokens`, a function of the same `what`, how many tokens a point has."""
    told = getattr(progress, "tokens", None)
    if told is not None:
        told(what, sum(num_tokens(one) for one in encoded))


def num_tokens(encoded: Encoded) -> int:
    """Tokens of all batches of a split, padding included; 0 where it is not made of tokens."""
    return sum(batch.inputs["input_ids"].numel() for batch in getattr(encoded, "batches", ()))
