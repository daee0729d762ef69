"""A path: a matrix of coefficients times a few control points, read in one of two kinds of coordinates."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, get_args, overload

import torch

from modeconn.adapters.adapter import Adapter, combine
from modeconn.errors import PathError, listed

Space = Literal["weights", "factors"]


class Path(ABC):
    """A map from the position t in [0, 1] to a point, `path(t) = coefficients(t) @ points`.

    Args:
        points: The K control points; the first and last are the ends.
        space: "weights" combines the weight updates dW, exactly and whatever the gauge, ranks and modules;
            "factors" combines the adapters' own tensors, as naive averaging and EMA do.
        name: How tables call the path.

    Raises:
        PathError: If the space is unknown, or the points cannot be combined in it.
    """

    def __init__(self, points: Sequence[Adapter], *, space: Space = "weights", name: str | None = None) -> None:
        if space not in get_args(Space):
            raise PathError(
                f"unknown space {space!r}",
                expected=" or ".join(get_args(Space)),
                got=repr(space),
                remedy='use space="weights" unless you study naive averaging of factors',
            )
        self.points, self.space = tuple(points), space
        self.name = name or f"{self.points[0].name} -> {self.points[-1].name}"
        combine([1 / len(self.points)] * len(self.points), list(self.points))  # fails early, costs nothing
        if space == "factors":
            self._matrix = _stack_vectors(self.points)  # [K, P]

    @abstractmethod
    def coefficients(self, t: torch.Tensor) -> torch.Tensor:
        """The coefficients of the control points at positions t, `[T] -> [T, K]`, float64."""

    @property
    def start(self) -> Adapter:
        """The point at t = 0."""
        return self.points[0]

    @property
    def end(self) -> Adapter:
        """The point at t = 1."""
        return self.points[-1]

    @overload
    def __call__(self, t: float) -> Adapter: ...
    @overload
    def __call__(self, t: torch.Tensor) -> torch.Tensor: ...
    def __call__(self, t: float | torch.Tensor) -> Adapter | torch.Tensor:
        """The point at a position, or the points at many.

        Args:
            t: A number gives an `Adapter`; a tensor `[T]` gives `[T, P]`, in factors space only, because rows of
                dense updates are never formed.

        Raises:
            PathError: If t is outside [0, 1], or a tensor in weights space.
        """
        positions = torch.as_tensor(t, dtype=torch.float64)
        if not ((positions >= 0) & (positions <= 1)).all():
            raise PathError(
                f"a position outside of the path {self.name!r}",
                expected="0 <= t <= 1",
                got=f"t from {positions.min():g} to {positions.max():g}",
                remedy="choose t between the ends",
            )
        rows = self.coefficients(positions.reshape(-1))  # [T, K]
        if positions.ndim == 0 and not isinstance(t, torch.Tensor):
            return self._point(rows[0], f"{self.name} at t={float(positions):g}")
        if self.space == "weights":
            raise PathError(
                "a path in weights space has no matrix of points",
                expected="a number t, or space='factors'",
                got=f"a tensor of {positions.numel()} positions",
                remedy="call path(float(t)) for each t: its factors stay low-rank",
            )
        return (rows @ self._matrix.double()).float()  # [T, K] @ [K, P]

    def _point(self, row: torch.Tensor, name: str) -> Adapter:
        """The point with the given coefficients, `[K]`; an end is returned as it is."""
        nonzero = row.nonzero().reshape(-1).tolist()
        if len(nonzero) == 1 and row[nonzero[0]] == 1:
            return self.points[nonzero[0]]
        if self.space == "weights":
            return combine(row.tolist(), list(self.points), name=name)
        vector = (row @ self._matrix.double()).float()  # [K] @ [K, P]
        return self.start.with_vector(vector, name=name)

    def distance(self, t: float) -> float:
        """The L2 distance of the point at t from the start, in the coordinates of the path's space."""
        if self.space == "factors":
            rows = self.coefficients(torch.tensor([t], dtype=torch.float64))
            return float((rows[0] @ self._matrix.double() - self._matrix[0].double()).norm())
        return (self(float(t)) - self.start).norm()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, space={self.space!r}, points={len(self.points)})"


def _stack_vectors(points: Sequence[Adapter]) -> torch.Tensor:
    """The points' own tensors as rows, `[K, P]`, after checking that they mean the same."""
    first = points[0]
    for other in points[1:]:
        first.layout.check(other.layout, other.name)
        modules = [name.removesuffix(".weight") for name in first.updates]
        differing = [name for name in modules if first.config.scaling(name) != other.config.scaling(name)]
        if differing:
            raise PathError(
                f"{first.name} and {other.name} scale their factors differently",
                expected="the same lora_alpha, rank and scaling rule in every module",
                got=f"different scalings in {listed(differing)}",
                remedy='join them in space="weights"',
            )
    return torch.stack([point.vector for point in points])  # [K, P]
