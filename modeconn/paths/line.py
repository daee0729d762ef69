"""The straight line between two points."""

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.heads import Heads
from modeconn.paths.path import Path, Space


class LinearPath(Path):
    """The segment from one point to another, `(1 - t) start + t end`.

    In weights space `dW(t) = (1 - t) dW_0 + t dW_1`, held as `[B_0 B_1] [(1 - t) s_0 A_0 ; t s_1 A_1]`. In factors
    space `((1 - t) B_0 + t B_1)((1 - t) A_0 + t A_1)`, which is quadratic in t; the two differ by
    `t (1 - t) (B_1 - B_0)(A_1 - A_0)`.

    Args:
        start: The point at t = 0.
        end: The point at t = 1.
        space: "weights" or "factors".
        name: How tables call the path; "start -> end" by default.
        heads: Whose head counts, "shared", "own" or "skip"; None where heads are coordinates of the path.
    """

    def __init__(
        self,
        start: Adapter,
        end: Adapter,
        *,
        space: Space = "weights",
        name: str | None = None,
        heads: Heads | None = None,
    ) -> None:
        super().__init__([start, end], space=space, name=name, heads=heads)

    def coefficients(self, t: torch.Tensor) -> torch.Tensor:
        """`[1 - t, t]` for every position, `[T] -> [T, 2]`."""
        t = t.double()
        return torch.stack([1 - t, t], dim=1)
