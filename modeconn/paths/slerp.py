"""From one point to another along an arc in every parameter."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Self, overload

import torch

from modeconn.adapters.adapter import Adapter, combine
from modeconn.adapters.heads import Heads
from modeconn.adapters.update import BaseWeights, Update
from modeconn.paths.curve import Curve
from modeconn.paths.path import Space

# Below, arc and line differ by less than 1e-8 of the update; or the ends are opposite, and there are many arcs.
_SMALLEST_SINE = 1e-4


class SlerpPath(Curve):
    """Spherical interpolation (slerp) in every parameter by itself.

    `dW(t) = [sin((1 - t) a) dW_0 + sin(t a) dW_1] / sin a` with a the angle between the two updates (Shoemake 1985,
    SIGGRAPH): the norm of a module's update goes from one end's to the other's instead of dipping between, as on a
    line. In factors space the same is done to each of the adapters' own tensors. A parameter takes the line where an
    end has no update, or the two point the same or opposite ways (sine below 1e-4).

    The coefficients differ from parameter to parameter: `coefficients(t)` are those of the parameters that take the
    line, `coefficients_by_parameter(t)` those of all.

    Args:
        start: The point at t = 0.
        end: The point at t = 1.
        space: The coordinates.
        name: How tables call the path; "slerp start -> end" by default.
        heads: Whose head counts where the ends' differ, as in `Path`.

    Raises:
        PathError: If the points cannot be combined in the space.
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
        super().__init__([start, end], space=space, name=name or f"slerp {start.name} -> {end.name}", heads=heads)

    def with_points(self, points: Sequence[Adapter]) -> Self:
        """The arcs between two other points, in the path's coordinates."""
        moved = super().with_points(points)
        vars(moved).pop("_grams", None)
        return moved

    def coefficients(self, t: torch.Tensor) -> torch.Tensor:
        """`[1 - t, t]`, `[T] -> [T, 2]`: where a parameter has no angle."""
        t = t.double()
        return torch.stack([1 - t, t], dim=1)

    def derivative(self, t: torch.Tensor) -> torch.Tensor:
        """`[-1, 1]`, `[T] -> [T, 2]`: where a parameter has no angle."""
        return torch.tensor([-1.0, 1.0], dtype=torch.float64).expand(len(t), 2)

    def coefficients_by_parameter(self, t: torch.Tensor) -> dict[str, torch.Tensor]:
        """The coefficients in every parameter (tensor, in factors space), `[T] -> name -> [T, 2]`, float64."""
        return dict(zip(self._grams, self._rows(t.double()), strict=True))

    @property
    def angles(self) -> dict[str, float]:
        """The angle between the ends in every parameter (tensor, in factors space), radians; 0 for the line."""
        return dict(zip(self._grams, self._angles.tolist(), strict=True))

    @overload
    def __call__(self, t: float) -> Adapter: ...
    @overload
    def __call__(self, t: torch.Tensor) -> torch.Tensor: ...
    def __call__(self, t: float | torch.Tensor) -> Adapter | torch.Tensor:
        """The point at a position, or, in factors space, the points at many, `[T] -> [T, P]`.

        Args:
            t: A number, or a tensor of positions.

        Raises:
            PathError: If t is outside [0, 1], or a tensor in weights space.
        """
        if self.space == "weights" or not isinstance(t, torch.Tensor):
            return super().__call__(t)
        vectors = [self(float(position)).vector for position in t.reshape(-1)]
        return torch.stack(vectors) if vectors else self.matrix[:0]  # [T, P]

    def speed(self, t: torch.Tensor) -> torch.Tensor:
        """L2 distance per unit of t over all parameters, `[T] -> [T]`, float64."""
        t, angle = t.double(), self._angles[:, None]  # [T], [M, 1]
        turning = torch.stack([-angle * ((1 - t) * angle).cos(), angle * (t * angle).cos()], dim=2)  # [M, T, 2]
        rates = self._arcs_or(self.derivative(t), turning)
        return self._norms(rates)

    def distance(self, t: float) -> float:
        """The L2 distance of the point at t from the start."""
        rows = self._rows(torch.tensor([t], dtype=torch.float64))  # [M, 1, 2]
        return float(self._norms(rows - torch.tensor([1.0, 0.0]))[0])

    def point(self, row: torch.Tensor, name: str) -> Adapter:
        """The point whose line coefficients are given, `[2]`; an end is returned as it is."""
        if (row == 1).any():
            return super().point(row, name)
        rows = self._rows(row[1:])[:, 0]  # [M, 2]
        if self.space == "weights":
            own = dict(zip(self._grams, rows.tolist(), strict=True))
            return self._with_head(combine(row.tolist(), self.points, by_parameter=own, name=name))
        sizes = torch.tensor([math.prod(shape) for _, shape in self.start.layout.shapes])
        spread = rows.repeat_interleave(sizes, dim=0)  # [P, 2]
        return self._from_vector((spread.T * self.matrix.double()).sum(dim=0).float(), name)

    def _rows(self, t: torch.Tensor) -> torch.Tensor:
        """The coefficients in every parameter, `[T] -> [M, T, 2]`."""
        angle = self._angles[:, None]  # [M, 1]
        return self._arcs_or(self.coefficients(t), torch.stack([((1 - t) * angle).sin(), (t * angle).sin()], dim=2))

    def _arcs_or(self, line: torch.Tensor, arcs: torch.Tensor) -> torch.Tensor:
        """`arcs / sin a`, `[M, T, 2]`, and the line's `[T, 2]` where there is no angle."""
        angle = self._angles[:, None, None]
        return torch.where(angle > 0, arcs / torch.where(angle > 0, angle.sin(), 1.0), line)

    def _norms(self, rows: torch.Tensor) -> torch.Tensor:
        """The L2 norms over all parameters of combinations of the ends, `[M, T, 2] -> [T]`."""
        grams = torch.stack(list(self._grams.values()))  # [M, 2, 2]
        return torch.einsum("mtk,mkl,mtl->t", rows, grams, rows).clamp(min=0.0).sqrt()

    @property
    def _angles(self) -> torch.Tensor:
        """The angle in every parameter, 0 where it takes the line, `[M]`."""
        grams = torch.stack(list(self._grams.values()))  # [M, 2, 2]
        size = (grams[:, 0, 0] * grams[:, 1, 1]).clamp(min=0.0).sqrt()
        cosine = torch.where(size > 0, grams[:, 0, 1] / torch.where(size > 0, size, 1.0), 1.0)
        angle = cosine.clamp(-1, 1).arccos()
        return torch.where(angle.sin() > _SMALLEST_SINE, angle, 0.0)

    @cached_property
    def _grams(self) -> dict[str, torch.Tensor]:
        """Inner products of the ends in every parameter (tensor, in factors space), `[2, 2]`, float64 each."""
        if self.space != "weights":
            return {name: _tensor_gram(*(p.tensors[name] for p in self.points)) for name, _ in self.start.layout.shapes}
        base = self.base
        start, end = (point if base is None else point.within(base) for point in self.points)
        names = sorted(start.updates.keys() | end.updates.keys())
        grams = {name: _update_gram(start.updates.get(name), end.updates.get(name), name, base) for name in names}
        heads = {name: _tensor_gram(start.saved[name], end.saved[name]) for name in sorted(start.saved)}
        return grams | heads


def _tensor_gram(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Inner products of two tensors, `[2, 2]`, float64."""
    both = torch.stack([first.reshape(-1), second.reshape(-1)]).double()  # [2, P]
    return both @ both.T


def _update_gram(start: Update | None, end: Update | None, parameter: str, base: BaseWeights | None) -> torch.Tensor:
    """Inner products of two updates of one parameter, `[2, 2]`, float64; 0 where one is missing."""
    updates = [start, end]
    if base is not None:  # one parameter at a time: what needs the base is dense
        updates = [u and u.on(base.weight(parameter), transposed=base.transposed(parameter)) for u in updates]
    values = [[a.inner(b) if a is not None and b is not None else 0.0 for b in updates] for a in updates]
    return torch.tensor(values, dtype=torch.float64)
