"""Polygonal chains: straight from point to point."""

from collections.abc import Sequence

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.heads import Heads
from modeconn.paths.curve import check_count, curve_name
from modeconn.paths.path import Space
from modeconn.paths.piecewise import Segmented
from modeconn.paths.straight import straight


class PolygonalChain(Segmented):
    """Straight segments through K points, `path(k / (K - 1)) = p_k` (Garipov 2018, arXiv 1802.10026).

    Args:
        points: The points that the chain goes through, in order.
        space: The coordinates in which they are combined.
        name: How tables call the path; "chain start -> end" by default.
        heads: Whose head counts where the points' differ, as in `Path`.

    Raises:
        PathError: If there are fewer than 2 points, or they cannot be combined in the space.
    """

    def __init__(
        self,
        points: Sequence[Adapter],
        *,
        space: Space = "weights",
        name: str | None = None,
        heads: Heads | None = None,
    ) -> None:
        remedy = "give the start, the end, and what lies between"
        check_count("points on a chain", len(points), least=2, remedy=remedy)
        super().__init__(points, 1, space=space, name=curve_name("chain", points, name), heads=heads)

    @classmethod
    def between(
        cls,
        start: Adapter,
        end: Adapter,
        *,
        num_bends: int = 1,
        space: Space = "weights",
        name: str | None = None,
        heads: Heads | None = None,
        bend_rank: int | None = None,
    ) -> "PolygonalChain":
        """The chain whose bends lie evenly on the line, so that it is the line: where a fit begins.

        Args:
            start: The point at t = 0.
            end: The point at t = 1.
            num_bends: How many free points lie between them, from 0.
            space: The coordinates.
            name: How tables call the path.
            heads: Whose head counts where the ends' differ, as in `Path`.
            bend_rank: The rank of every bend, in weights space. `r_0 + r_1` by default, which holds the line
                exactly. Of a smaller one the bends are the nearest to the line's points, so that the chain is not
                quite the line; of a larger one it is the line, with more directions in which it can leave it.

        Raises:
            PathError: If the number of bends is negative, or their rank is not positive or cannot be chosen.
        """
        check_count("bends on a chain", num_bends, least=0, remedy="give the number of points between the ends")
        options = {"space": space, "name": name, "heads": heads, "bend_rank": bend_rank}
        return straight(PolygonalChain, "chain", (start, end), num_bends + 2, degree=1, **options)
