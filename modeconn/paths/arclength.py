"""How long a path is, and the same path travelled at constant speed."""

from collections.abc import Sequence

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.errors import PathError
from modeconn.paths.curve import Curve, check_positions, derivative, joints, speed
from modeconn.paths.lengths import LengthTable
from modeconn.paths.path import Path
from modeconn.paths.slerp import SlerpPath

_NOWHERE = 1e-7  # of the points' norm: below, a length is rounding
_TINY = 1e-300  # keeps a division by 0 out where a path stands still


def length(path: Path) -> float:
    """The length of a path in the coordinates of its space, `int_0^1 |path'(t)| dt`.

    `|path'(t)|^2 = c'(t)^T G c'(t)` with the derivative of the coefficients and the Gram matrix of the control points,
    so no point is formed. Gauss-Legendre panels between the joints are halved until the sum changes by less than
    1e-11 of itself, 4096 times at most, which matters only where the path stands still for a moment.

    Args:
        path: Any path; one without a `derivative` is differentiated automatically.

    Returns:
        The length, an L2 norm; that of a line is the distance of its ends.

    Raises:
        PathError: If the length is NaN or infinite.
    """
    return float(LengthTable.of(path).lengths[-1])


def arc_lengths(path: Path, t: torch.Tensor) -> torch.Tensor:
    """The lengths of the way from the start to positions t, `[T] -> [T]`, float64.

    Args:
        path: Any path.
        t: Positions in [0, 1], `[T]`.

    Raises:
        PathError: If a position is outside of [0, 1], or the length is NaN or infinite.
    """
    return LengthTable.of(path).until(check_positions(t, path.name))


def reparametrised(path: Path) -> "ArcLengthPath":
    """The same path at constant speed; see `ArcLengthPath`."""
    return ArcLengthPath(path)


class ArcLengthPath(Curve):
    """A path whose position is the share of the length that is behind it, so that its speed is constant.

    `path(t(s))` with `t(s)` the inverse of `s(t) = int_0^t |path'| / length`, found by Newton's method inside a
    bracket, to 1e-13 in t. Positions at equal distances, as the length-weighted integral of
    Garipov 2018 (arXiv 1802.10026) and the redistribution of Draxler 2018 (1803.00885) need them.

    Args:
        path: The path to travel.

    Raises:
        PathError: If the path has no length, or one that is not finite, or different coefficients in every parameter.
    """

    def __init__(self, path: Path) -> None:
        if isinstance(path, SlerpPath):
            raise PathError(
                f"the path {path.name!r} cannot be travelled at constant speed",
                expected="a path with the same coefficients in every parameter",
                got="a spherical path",
                remedy="take positions from arc_lengths(path, t)",
            )
        # The path's own attributes, not its constructor: what was checked, aligned and computed stays as it is.
        vars(self).update(vars(path))
        self.path, self._table = path, LengthTable.of(path)
        if self.length <= _NOWHERE * float(path.gram.diagonal().max().sqrt()):
            raise PathError(
                f"the path {path.name!r} has no length",
                expected="points that differ",
                got=f"{len(path.points)} control points at one place",
                remedy="join two different checkpoints",
            )

    def with_points(self, points: Sequence[Adapter]) -> "ArcLengthPath":
        """The path through other control points, at constant speed again."""
        return ArcLengthPath(self.path.with_points(points))

    @property
    def length(self) -> float:
        """The path's length, an L2 norm."""
        return float(self._table.lengths[-1])

    @property
    def joints(self) -> tuple[float, ...]:
        """The shares of the length at which the path may have a kink."""
        knots = torch.tensor(joints(self.path), dtype=torch.float64)
        return tuple((self._table.until(knots) / self.length).tolist())

    def position(self, share: torch.Tensor) -> torch.Tensor:
        """The positions t on the path at which shares of its length are behind, `[T] -> [T]`, float64.

        Args:
            share: Shares in [0, 1], `[T]`.

        Raises:
            PathError: If one is outside of [0, 1].
        """
        return self._table.inverse(check_positions(share, self.name))

    def coefficients(self, t: torch.Tensor) -> torch.Tensor:
        """The path's coefficients at `position(t)`, `[T] -> [T, K]`."""
        return self.path.coefficients(self.position(t))

    def derivative(self, t: torch.Tensor) -> torch.Tensor:
        """Their derivatives with respect to the share of the length, `[T] -> [T, K]`."""
        inner = self.position(t)
        rate = self.length / speed(self.path, inner).clamp(min=_TINY)  # [T]
        return derivative(self.path, inner) * rate.unsqueeze(1)
