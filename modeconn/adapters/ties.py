"""Tied weights: a full fine-tune moves all names of a parameter together, an adapter moves one."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.update import Update


def with_ties(point: Adapter, groups: Iterable[Sequence[str]]) -> Adapter:
    """The point with a full fine-tune's change of a tied parameter under all its names.

    A checkpoint holds one tensor for an embedding and the head that is tied to it. Adapters keep the two apart, as
    PEFT does: what they do to one is none of the other's. Trained tokens of the embedding move both, in PEFT too.

    Args:
        point: The point.
        groups: The names of each parameter that has several; first that under which it is the embedding.
    """
    if not any(part.moves_ties for update in point.updates.values() for part in update.parts):
        return point
    updates = dict(point.updates)
    for group in groups:
        # A name with a full fine-tune's weight of its own follows nobody.
        found = {name: _moving(updates.get(name), is_embedding=name == group[0]) for name in group}
        moved = {name: update for name, update in found.items() if update is not None}
        for name in group if moved else ():
            if name not in moved and name not in point.saved:
                followed = next(iter(moved.values()))
                own = updates.get(name)
                updates[name] = followed if own is None else Update.combine((1.0, 1.0), (followed, own))
    return replace(point, updates=updates)


def _moving(update: Update | None, *, is_embedding: bool) -> Update | None:
    """What of an update moves tied parameters, if anything; the same object if all does."""
    if update is None:
        return None
    pairs = [
        (c, part)
        for c, part in zip(update.coefficients, update.parts, strict=True)
        if part.replaces or (part.moves_ties and is_embedding)
    ]
    if len(pairs) == len(update.parts):
        return update
    return Update(tuple(c for c, _ in pairs), tuple(part for _, part in pairs)) if pairs else None
