"""Names for checkpoints that are given as folders."""

from collections.abc import Sequence
from pathlib import Path


def named(sources: Sequence[str]) -> list[tuple[str, str]]:
    """Sources with names that differ: the folders' last parts, as many as it takes.

    Args:
        sources: Folders or hub ids.

    Returns:
        Source and name, in order; the sources themselves are the names where no parts tell them apart.

    Example:
        >>> named(["runs/a/after-1-x", "runs/b/after-1-x"])
        [('runs/a/after-1-x', 'a/after-1-x'), ('runs/b/after-1-x', 'b/after-1-x')]
    """
    parts = [Path(source).expanduser().resolve().parts for source in sources]
    for depth in range(1, min((len(part) for part in parts), default=1)):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return list(zip(sources, names, strict=True))
    return [(source, source) for source in sources]
