"""Polygonal chains: straight from point to point."""

from collections.abc import Sequence

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.heads import Heads
from modeconn.paths.curve import check_count, curve_name
from modeconn.paths.path import Space
from modeconn.paths.piecewise import Segmented
from modeconn.paths.straight import Bent


class PolygonalChain(Bent, Segmented):
    """Straight segments through K points, `path(k / (K - 1)) = p_k` (Garipov 2018, arXiv 1802.10026).

    Args:
        points: The points that the chain goes through, in order.
        space: The coordinates in which they are combined.
        name: How tables call the path; "chain start -> end" by default.
        heads: Whose head counts where the points' differ, as in `Path`.

    Raises:
        PathError: If there are fewer than 2 points, or they cannot be combined in the space.
    """

    label = "chain"
    degree = 1

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
        super().__init__(points, self.degree, space=space, name=curve_name(self.label, points, name), heads=heads)

    @classmethod
    def _check_bends(cls, num_bends: int) -> None:
        """Raise if there are fewer than 0."""
        check_count("bends on a chain", num_bends, least=0, remedy="give the number of points between the ends")
