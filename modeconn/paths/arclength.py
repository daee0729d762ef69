"""How long a path is, and the same path travelled at constant speed."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from modeconn.errors import PathError
from modeconn.paths.curve import Curve, norms
from modeconn.paths.path import Path
from modeconn.paths.slerp import SlerpPath

_NODES = 16  # of each Gauss-Legendre panel
_FIRST_PANELS, _MOST_PANELS = 4, 4096  # between two joints
_TOLERANCE = 1e-11
_MOST_STEPS, _STEP = 80, 1e-13
_TINY = 1e-300  # keeps 0 / 0 out where a path stands still


def length(path: Path) -> float:
    """The length of a path in the coordinates of its space, `int_0^1 |path'(t)| dt`.

    `|path'(t)|^2 = c'(t)^T G c'(t)` with the derivative of the coefficients and the Gram matrix of the control points,
    so no point is formed. Gauss-Legendre panels between the joints are halved until the sum changes by less than
    1e-11 of itself, 4096 times at most, which matters only where the path stands still for a moment.

    Args:
        path: Any path; one without a `derivative` is differentiated by forward-mode automatic differentiation.

    Returns:
        The length, an L2 norm; that of a line is the distance of its ends.

    Raises:
        PathError: If the length is NaN or infinite.
    """
    return float(_measured(path).lengths[-1])


def arc_lengths(path: Path, t: torch.Tensor) -> torch.Tensor:
    """The lengths of the way from the start to positions t, `[T] -> [T]`, float64.

    Args:
        path: Any path.
        t: Positions in [0, 1], `[T]`.

    Raises:
        PathError: If a position is outside of [0, 1], or the length is NaN or infinite.
    """
    return _measured(path).until(check_positions(t, path.name))


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
        self.path, self._table = path, _measured(path)
        if self.length == 0.0:
            raise PathError(
                f"the path {path.name!r} has no length",
                expected="points that differ",
                got=f"{len(path.points)} control points at one place",
                remedy="join two different checkpoints",
            )

    @property
    def length(self) -> float:
        """The path's length, an L2 norm."""
        return float(self._table.lengths[-1])

    @property
    def joints(self) -> tuple[float, ...]:
        """The shares of the length at which the path may have a kink."""
        knots = torch.tensor(_joints(self.path), dtype=torch.float64)
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


def derivative(path: Path, t: torch.Tensor) -> torch.Tensor:
    """The derivative of a path's coefficients, `[T] -> [T, K]`: its own, or by forward-mode differentiation.

    Args:
        path: Any path.
        t: Positions, `[T]`.
    """
    if isinstance(path, Curve):
        return path.derivative(t)
    t = t.double()
    return torch.func.jvp(path.coefficients, (t,), (torch.ones_like(t),))[1]


def speed(path: Path, t: torch.Tensor) -> torch.Tensor:
    """L2 distance per unit of t, `[T] -> [T]`, float64.

    Args:
        path: Any path.
        t: Positions, `[T]`.
    """
    if isinstance(path, Curve):
        return path.speed(t)
    return norms(derivative(path, t), path.gram)


def check_positions(t: torch.Tensor, name: str) -> torch.Tensor:
    """Positions in float64, `[T]`, after checking that they are on the path.

    Raises:
        PathError: If one is outside of [0, 1] or NaN.
    """
    positions = torch.as_tensor(t, dtype=torch.float64).reshape(-1)
    wrong = positions[~((positions >= 0) & (positions <= 1))]
    if len(wrong):
        raise PathError(
            f"a position outside of the path {name!r}",
            expected="0 <= t <= 1",
            got=f"t = {wrong[0]:g}",
            remedy="choose t between the ends",
        )
    return positions


@dataclass(frozen=True, eq=False)
class _Table:
    """Lengths from the start to the edges of panels.

    Attributes:
        path: What is measured.
        edges: Positions from 0 to 1, `[E]`.
        lengths: From the start to each, `[E]`.
    """

    path: Path
    edges: torch.Tensor
    lengths: torch.Tensor

    def until(self, t: torch.Tensor) -> torch.Tensor:
        """The lengths from the start to positions, `[T] -> [T]`."""
        panel = (torch.searchsorted(self.edges, t, right=True) - 1).clamp(0, len(self.edges) - 2)
        return self.lengths[panel] + _integrals(self.path, self.edges[panel], t)

    def inverse(self, share: torch.Tensor) -> torch.Tensor:
        """The positions at which shares of the length are behind, `[T] -> [T]`."""
        goal = share * self.lengths[-1]
        panel = (torch.searchsorted(self.lengths, goal, right=True) - 1).clamp(0, len(self.edges) - 2)
        low, high = self.edges[panel], self.edges[panel + 1]
        begun = self.lengths[panel]
        t = low + (high - low) * (goal - begun) / (self.lengths[panel + 1] - begun).clamp(min=_TINY)
        t = torch.minimum(torch.maximum(t, low), high)
        first = low
        for _ in range(_MOST_STEPS):
            excess = begun + _integrals(self.path, first, t) - goal
            low, high = torch.where(excess <= 0, t, low), torch.where(excess > 0, t, high)
            newton = t - excess / speed(self.path, t).clamp(min=_TINY)
            following = torch.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
            settled = (following - t).abs().max() <= _STEP if len(t) else True
            t = following
            if settled:
                break
        t = torch.where(share == 0, torch.zeros_like(t), t)
        return torch.where(share == 1, torch.ones_like(t), t)


def _measured(path: Path) -> _Table:
    """A table fine enough for the length to be right."""
    knots = torch.tensor([0.0, *_joints(path), 1.0], dtype=torch.float64)
    panels, before = _FIRST_PANELS, None
    while True:
        steps = torch.arange(panels, dtype=torch.float64) / panels
        edges = torch.cat([(knots[:-1, None] + knots.diff()[:, None] * steps).reshape(-1), knots[-1:]])  # [E]
        lengths = torch.cat([edges[:1], _integrals(path, edges[:-1], edges[1:]).cumsum(0)])  # [E]
        total = float(lengths[-1])
        if not math.isfinite(total):
            raise PathError(
                f"the length of the path {path.name!r} is {total}",
                expected="control points of finite numbers",
                got="NaN or infinite inner products",
                remedy="find the checkpoint that diverged",
            )
        if (before is not None and abs(total - before) <= _TOLERANCE * total) or panels >= _MOST_PANELS:
            return _Table(path, edges, lengths)
        panels, before = 2 * panels, total


def _integrals(path: Path, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """The lengths between pairs of positions with no joint between them, `[E], [E] -> [E]`."""
    nodes, weights = _quadrature()
    half = (high - low) / 2
    t = (low + half)[:, None] + half[:, None] * nodes  # [E, Q]
    return half * (speed(path, t.reshape(-1)).reshape(t.shape) @ weights)  # [E, Q] @ [Q]


@cache
def _quadrature() -> tuple[torch.Tensor, torch.Tensor]:
    """The nodes and weights of a Gauss-Legendre panel, `[Q]` each, on [-1, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return torch.from_numpy(nodes), torch.from_numpy(weights)


def _joints(path: Path) -> tuple[float, ...]:
    """A path's joints; one that knows of none is taken to be smooth."""
    return path.joints if isinstance(path, Curve) else ()
