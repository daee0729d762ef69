"""A table of lengths along a path, and its inverse."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from modeconn.errors import PathError
from modeconn.paths.curve import joints, speed
from modeconn.paths.path import Path

_NODES = 16  # of each Gauss-Legendre panel
_FIRST_PANELS, _MOST_PANELS = 4, 4096  # between two joints
_TOLERANCE = 1e-11
_MOST_STEPS, _STEP = 80, 1e-13
_TINY = 1e-300  # keeps 0 / 0 out where a path stands still


@dataclass(frozen=True, eq=False)
class LengthTable:
    """Lengths from the start to the edges of panels.

    Attributes:
        path: What is measured.
        edges: Positions from 0 to 1, `[E]`.
        lengths: From the start to each, `[E]`.
    """

    path: Path
    edges: torch.Tensor
    lengths: torch.Tensor

    @classmethod
    def of(cls, path: Path) -> "LengthTable":
        """A table fine enough for the length to be right to 1e-11 of itself.

        Raises:
            PathError: If the length is NaN or infinite.
        """
        knots = torch.tensor([0.0, *joints(path), 1.0], dtype=torch.float64)
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
                return cls(path, edges, lengths)
            panels, before = 2 * panels, total

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
