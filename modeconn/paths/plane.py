"""The plane through three points, with the L2 distance as its unit."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.update import BaseWeights
from modeconn.errors import PathError
from modeconn.paths.combination import combination, finite_gram, gram_with, spanning
from modeconn.paths.curve import check_count, norms
from modeconn.paths.gram import centred
from modeconn.paths.path import Path, Space
from modeconn.paths.slerp import SlerpPath

_FLAT = 1e-6  # of the points' norm: below, rounding of the inner products decides on the second direction
_SEARCHED = 101  # positions tried for the point of a path that is farthest from the chord


@dataclass(frozen=True)
class Projection:
    """Where points fall on a plane, and how far off it they are.

    Attributes:
        x: Along the first direction, `[N]`, L2 distance from the origin.
        y: Along the second direction, `[N]`.
        distance: From the plane, `[N]`, L2; right to about 1e-8 of the points' norm.
    """

    x: torch.Tensor
    y: torch.Tensor
    distance: torch.Tensor


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane in the span of a path's control points, `plane(x, y) = o + x u + y v` with u, v orthonormal.

    Gram-Schmidt as Garipov 2018 (arXiv 1802.10026): `u ~ p_1 - p_0`, `v ~ (p_2 - p_0) - <p_2 - p_0, u> u`; carried out
    on coefficients with the Gram matrix of the control points, so that no dense update is formed. `Plane.through` and
    `Plane.along` make one.

    Attributes:
        path: A path whose control points span the plane.
        corners: Coefficients of three points in the plane, `[3, K]`, float64: the origin, one on the x axis, one above.

    Raises:
        PathError: If the three points lie on a line, or hold NaN or infinity.
    """

    path: Path
    corners: torch.Tensor

    def __post_init__(self) -> None:
        _ = self.axes  # fails early

    @classmethod
    def through(
        cls, points: Sequence[Adapter], *, space: Space = "weights", base: BaseWeights | None = None
    ) -> "Plane":
        """The plane through three points: the first is the origin, the second lies on the x axis.

        Args:
            points: Three adapters.
            space: The coordinates in which they are combined.
            base: The base's weights, such as an `AdapterModel`; needed where `dW` is a function of them.

        Raises:
            PathError: If there are not three points, or they lie on a line.
        """
        remedy = "give three checkpoints; project others onto the plane"
        check_count("points", len(points), owner="a plane", least=3, most=3, remedy=remedy)
        return cls(spanning(points, space=space, base=base), torch.eye(3, dtype=torch.float64))

    @classmethod
    def along(cls, path: Path) -> "Plane":
        """The plane through both ends of a path and the point of it that is farthest from the chord.

        A curve with one bend lies in it; others are projected (`locate`).

        Args:
            path: A path that is not straight.

        Raises:
            PathError: If the path is straight, or its coefficients differ from parameter to parameter.
        """
        if isinstance(path, SlerpPath):
            raise PathError(
                f"no plane along the path {path.name!r}",
                expected="a path with the same coefficients in every parameter",
                got="a spherical path",
                remedy="use Plane.through([path.start, path(0.5), path.end])",
            )
        rows = path.coefficients(torch.linspace(0, 1, _SEARCHED, dtype=torch.float64))  # [T, K]
        gram, away, chord = centred(finite_gram(path)), rows - rows[0], rows[-1] - rows[0]
        share = away @ gram @ chord / (chord @ gram @ chord)  # [T]
        farthest = int(norms(away - share[:, None] * chord, gram).nan_to_num().argmax())
        return cls(path, rows[[0, -1, farthest]])

    @cached_property
    def axes(self) -> torch.Tensor:
        """Coefficients of the orthonormal directions u and v, `[2, K]`, float64."""
        smallest = _FLAT * float(norms(self.corners, finite_gram(self.path)).max())
        gram, (origin, second, third) = centred(self.path.gram), self.corners
        first_axis, up = second - origin, third - origin
        width = norms(first_axis[None], gram)
        first_axis = first_axis / width
        for _ in range(2):  # twice is enough: what rounding leaves of u after the first time is taken away
            up = up - (up @ gram @ first_axis) * first_axis
        height = norms(up[None], gram)
        if not (width > smallest and height > smallest):
            raise PathError(
                "three points on a line do not span a plane",
                expected="a third point off the line through the first two",
                got=f"first two {float(width):g} apart, third {float(height.nan_to_num()):g} off their line",
                remedy="choose another third point; for a straight path evaluate the path itself",
            )
        return torch.stack([first_axis, up / height])

    def coefficients(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The coefficients of the control points at positions in the plane, `[N], [N] -> [N, K]`, float64.

        Args:
            x: Along u, `[N]`, L2 distance.
            y: Along v, `[N]`.
        """
        position = torch.stack([x.double(), y.double()], dim=1)  # [N, 2]
        return self.corners[0] + position @ self.axes  # [N, 2] @ [2, K]

    def __call__(self, x: float, y: float) -> Adapter:
        """The point at a position in the plane.

        Args:
            x: Along u, L2 distance from the first point.
            y: Along v.

        Raises:
            PathError: If a coordinate is NaN or infinite.
        """
        position = torch.tensor([x, y], dtype=torch.float64)
        if not position.isfinite().all():
            raise PathError(
                "no point of the plane at this position",
                expected="two finite numbers",
                got=f"x = {x}, y = {y}",
                remedy="take positions from grid()",
            )
        row = self.coefficients(position[:1], position[1:])[0]  # [K]
        return combination(self.path, row, name=f"plane at x={x:g}, y={y:g}")

    def grid(
        self, num_points: int = 21, *, margin: float = 0.2, around: Projection | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The lines of a grid that covers the three points with a margin.

        Args:
            num_points: Lines in each direction.
            margin: What is added on each side, as a share of the extent.
            around: More positions to cover, such as those of a path.

        Returns:
            x and y of the lines, `[num_points]` each, float64, increasing.

        Raises:
            PathError: If the number is below 2, or the margin negative or NaN.
        """
        check_grid(num_points, margin=margin)
        corners = self.locate(self.corners)
        lines = []
        for name in ("x", "y"):
            covered = [getattr(one, name) for one in (corners, around) if one is not None]
            low, high = torch.cat(covered).aminmax()
            extra = margin * (high - low)
            lines.append(torch.linspace(float(low - extra), float(high + extra), num_points, dtype=torch.float64))
        return lines[0], lines[1]

    def locate(self, rows: torch.Tensor) -> Projection:
        """Where combinations of the control points fall, such as `path.coefficients(t)` of the plane's own path.

        Args:
            rows: Coefficients of the control points, `[N, K]`, that sum to 1 in each row.
        """
        return self._projected(rows.double(), finite_gram(self.path), self.corners[0], self.axes)

    def project(self, points: Sequence[Adapter]) -> Projection:
        """Where other points fall: checkpoints, or points of any path.

        Args:
            points: N adapters that can be combined with those of the plane.

        Raises:
            PathError: If one cannot be, or holds NaN or infinity.
        """
        rows = torch.zeros(1, len(self.path.points) + 1, dtype=torch.float64)
        rows[0, -1] = 1.0  # the point itself
        origin, axes = (torch.nn.functional.pad(known, (0, 1)) for known in (self.corners[0], self.axes))
        found = [self._projected(rows, gram_with(self.path, point), origin, axes) for point in points]
        values = [[float(value) for value in (one.x, one.y, one.distance)] for one in found]
        return Projection(*torch.tensor(values, dtype=torch.float64).reshape(-1, 3).T)

    @staticmethod
    def _projected(rows: torch.Tensor, gram: torch.Tensor, origin: torch.Tensor, axes: torch.Tensor) -> Projection:
        """Coordinates and residual of combinations, `[N, K]`."""
        away, gram = rows - origin, centred(gram)
        position = away @ gram @ axes.T  # [N, 2]
        return Projection(position[:, 0], position[:, 1], norms(away - position @ axes, gram))


def check_grid(num_points: int, *, margin: float) -> None:
    """Raise unless a plane can be measured on such a grid.

    Args:
        num_points: Lines in each direction.
        margin: What is added on each side, as a share of the extent.

    Raises:
        PathError: If the number is below 2, or the margin negative or not finite.
    """
    check_count("lines", num_points, owner="a grid", least=2, remedy="give num_points=21, or more for finer contours")
    if not 0 <= margin < float("inf"):
        raise PathError(
            f"a grid cannot have a margin of {margin!r}",
            expected="a share of the extent, 0 or more",
            got=repr(margin),
            remedy="give margin=0.2 for a fifth on each side",
        )
