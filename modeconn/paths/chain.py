"""Polygonal chains: straight from point to point."""

from collections.abc import Sequence

from modeconn.adapters.adapter import Adapter
from modeconn.paths.curve import check_count, curve_name, derived, evenly
from modeconn.paths.line import LinearPath
from modeconn.paths.path import Space
from modeconn.paths.piecewise import Segmented


class PolygonalChain(Segmented):
    """Straight segments through K points, `path(k / (K - 1)) = p_k` (Garipov 2018, arXiv 1802.10026).

    Args:
        points: The points that the chain goes through, in order.
        space: The coordinates in which they are combined.
        name: How tables call the path; "chain start -> end" by default.

    Raises:
        PathError: If there are fewer than 2 points, or they cannot be combined in the space.
    """

    def __init__(self, points: Sequence[Adapter], *, space: Space = "weights", name: str | None = None) -> None:
        remedy = "give the start, the end, and what lies between"
        check_count("points on a chain", len(points), least=2, remedy=remedy)
        super().__init__(points, 1, space=space, name=curve_name("chain", points, name))

    @classmethod
    def between(
        cls,
        start: Adapter,
        end: Adapter,
        *,
        num_bends: int = 1,
        space: Space = "weights",
        name: str | None = None,
    ) -> "PolygonalChain":
        """The chain whose bends lie evenly on the line, so that it is the line: where a fit begins.

        Args:
            start: The point at t = 0.
            end: The point at t = 1.
            num_bends: How many free points lie between them, from 0.
            space: The coordinates.
            name: How tables call the path.

        Raises:
            PathError: If the number of bends is negative.
        """
        check_count("bends on a chain", num_bends, least=0, remedy="give the number of points between the ends")
        line = LinearPath(start, end, space=space, name=curve_name("chain", [start, end], name))
        return derived(line, PolygonalChain, evenly(num_bends + 2), name=line.name, degree=1)
