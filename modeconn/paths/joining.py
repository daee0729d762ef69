"""In which coordinates two points can be joined, and why not in the others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.agreement import check_same_names
from modeconn.errors import ModeconnError, listed
from modeconn.paths.line import LinearPath
from modeconn.paths.path import Space


@dataclass(frozen=True)
class Joining:
    """What holds for a pair of points.

    Attributes:
        first: Name of one.
        second: Name of the other.
        refused: Space -> why there is no line in it.
    """

    first: str
    second: str
    refused: Mapping[Space, str]

    @property
    def spaces(self) -> tuple[Space, ...]:
        """The coordinates in which there is a line."""
        return tuple(space for space in get_args(Space) if space not in self.refused)


def joining(first: Adapter, second: Adapter, *, base_given: bool = False) -> Joining:
    """Find out by trying; no tensor is combined.

    Args:
        first: A point.
        second: Another.
        base_given: Whether it is said which base is used, whatever the points call theirs.
    """
    refused: dict[Space, str] = {}
    for space in ("weights", "factors"):
        try:
            if not base_given:
                check_same_names([first, second])
            LinearPath(first, second, space=space)
        except ModeconnError as error:
            refused[space] = f"{error.failed}: {error.got}"
    # Aligning would take time; it needs what weights space needs, and factors.
    changed = [pair for point in (first, second) for pair in point.updates.items()]
    dense = {name for name, update in changed if not update.low_rank}
    unbound = {name for name, update in changed if update.needs_base}
    if "weights" in refused:
        refused["aligned-factors"] = refused["weights"]
    elif dense and dense == unbound and not (first.replaces or second.replaces):
        refused["aligned-factors"] = (
            f"low-rank factors of {listed(dense, limit=3)} cannot be known without the base: bind the points to it"
            " first, point.on(base)"
        )
    elif dense:
        refused["aligned-factors"] = f"there is nothing to align: no low-rank factors of {listed(dense, limit=3)}"
    return Joining(first.name, second.name, refused)
