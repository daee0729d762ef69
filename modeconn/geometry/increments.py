"""What every checkpoint of a run adds to the one before it."""

from collections.abc import Sequence
from dataclasses import replace

from modeconn.adapters.adapter import Adapter, combine


def increments(points: Sequence[Adapter]) -> list[Adapter]:
    """The first point, and the differences `dW_k - dW_(k-1)` of the others, exact and never formed densely.

    In a run that goes on from task to task a checkpoint holds the updates of all tasks so far; its difference from the
    one before is what the last task did. The factors of a difference are those of both checkpoints, so that the
    subspaces of neighbouring steps share the directions of the checkpoint between them by construction: compare a few
    leading directions (`directions=4`).

    Args:
        points: The checkpoints of a run, in order.

    Returns:
        As many points, without saved modules, named "step to ...".

    Raises:
        AdapterError: If the points cannot be combined.
    """
    bare = [without_saved(point) for point in points]
    first = [replace(point, name=f"step to {point.name}") for point in bare[:1]]
    pairs = zip(bare[1:], bare, strict=False)
    return first + [combine((1.0, -1.0), pair, name=f"step to {pair[0].name}") for pair in pairs]


def without_saved(point: Adapter) -> Adapter:
    """A point's updates alone, without heads and their labels: modules that were trained whole are no updates."""
    known = {key: value for key, value in point.provenance.items() if key != "labels"}
    return replace(point, saved={}, provenance=known) if point.saved else point
