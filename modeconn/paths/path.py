"""A path: a matrix of coefficients times a few control points, read in one of two kinds of coordinates."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Literal, Self, get_args, overload

import torch

from modeconn.adapters.adapter import Adapter, combine
from modeconn.adapters.agreement import check_same_base, check_same_shapes
from modeconn.adapters.gauge import aligned
from modeconn.adapters.heads import Heads, under_policy, with_heads_of
from modeconn.adapters.tokenizers import sources_of
from modeconn.adapters.update import BaseWeights
from modeconn.errors import PathError, listed
from modeconn.paths.gram import centred, gram_from_first, gram_matrix

Space = Literal["weights", "factors", "aligned-factors"]


class Path(ABC):
    """A map from the position t in [0, 1] to a point, `path(t) = coefficients(t) @ points`.

    Args:
        points: The K control points; the first and last are the ends.
        space: "weights" combines the weight updates dW, exactly and whatever the gauge, ranks and modules;
            "factors" combines the adapters' own tensors, as naive averaging and EMA do; "aligned-factors" does so
            after it has turned every point into the gauge of the first.
        name: How tables call the path.
        heads: Whose classification head counts: None where heads are coordinates of the path, for which all points need
            one of the same shape; "shared" for the start's all along; "skip" for the base's; "own" for that of the end
            that knows a task's labels, so that an evaluation takes the path once for each head.

    Raises:
        PathError: If the space is unknown, or the points cannot be combined in it.
        AdapterError: If the policy for heads is unknown, or the points differ in shape.
    """

    def __init__(
        self,
        points: Sequence[Adapter],
        *,
        space: Space = "weights",
        name: str | None = None,
        heads: Heads | None = None,
    ) -> None:
        if space not in get_args(Space):
            raise PathError(
                f"unknown space {space!r}",
                expected=" or ".join(get_args(Space)),
                got=repr(space),
                remedy='use space="weights" unless you study naive averaging of factors',
            )
        self.points = under_policy(points, heads)
        self.heads: Heads | None = heads
        self.head_of_end = points[-1]  # for heads="own"
        self.space: Space = space
        self.name = name or f"{self.points[0].name} -> {self.points[-1].name}"
        self.base: BaseWeights | None = None
        check_same_base(self.points)
        check_same_shapes(self.points)
        if space == "weights":
            combine([1 / len(self.points)] * len(self.points), self.points)  # fails early, costs nothing
        if space == "aligned-factors":
            self.points = tuple(aligned(self.points))
        if space != "weights":
            _check_comparable(self.points)

    def on(self, base: BaseWeights) -> Self:
        """The same path, with the base's weights at hand for lengths and distances.

        What a point needs of the base and can hold is computed here, once: the first factors of PiSSA and OLoRA.

        Args:
            base: Where the base's weights are, such as an `AdapterModel`; needed where `dW` is a function of them.
        """
        bound = self.with_points([point.within(base) for point in self.points])
        bound.base = base
        return bound

    def with_points(self, points: Sequence[Adapter]) -> Self:
        """The same path through other control points, as a fit moves them; K points in the path's coordinates."""
        moved = copy.copy(self)
        for cached in ("gram", "centred_gram", "matrix"):
            vars(moved).pop(cached, None)
        moved.points = tuple(points)
        return moved

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
            return self.point(rows[0], f"{self.name} at t={float(positions):g}")
        if self.space == "weights":
            raise PathError(
                "a path in weights space has no matrix of points",
                expected="a number t, or space='factors'",
                got=f"a tensor of {positions.numel()} positions",
                remedy="call path(float(t)) for each t: its factors stay low-rank",
            )
        return (rows @ self.matrix.double()).float()  # [T, K] @ [K, P]

    @cached_property
    def matrix(self) -> torch.Tensor:
        """The control points' own tensors as rows, `[K, P]`."""
        return torch.stack([point.vector for point in self.points])

    @cached_property
    def gram(self) -> torch.Tensor:
        """Inner products of the control points in the coordinates of the path's space, `[K, K]` float64.

        `|sum_k c_k p_k|^2 = c^T G c`: distances and lengths follow from it without the points.

        Raises:
            AdapterError: If an update is a function of the base's weights, and the path is not bound to a base (`on`).
        """
        if self.space == "weights":
            return gram_matrix(self.points, self.base)
        return self.matrix.double() @ self.matrix.double().T

    @cached_property
    def centred_gram(self) -> torch.Tensor:
        """Inner products of the control points' differences from the first, `[K, K]` float64: what distances need.

        Of full fine-tunes it needs no base, which cancels in a difference.

        Raises:
            AdapterError: If a difference is a function of the base's weights, and the path is not bound to a base.
        """
        unbound = self.space == "weights" and self.base is None and any(point.needs_base for point in self.points)
        return gram_from_first(self.points) if unbound else centred(self.gram)

    def point(self, row: torch.Tensor, name: str) -> Adapter:
        """A combination of the control points, whatever its coefficients sum to, in the path's coordinates.

        A control point is returned as it is.

        Args:
            row: The coefficients, `[K]`.
            name: How tables call the result.
        """
        nonzero = row.nonzero().reshape(-1).tolist()
        if len(nonzero) == 1 and row[nonzero[0]] == 1:
            return self.points[nonzero[0]]
        if self.space == "weights":
            return self._with_head(combine(row.tolist(), self.points, name=name))
        vector = (row @ self.matrix.double()).float()  # [K] @ [K, P]
        return self._from_vector(vector, name)

    def _from_vector(self, vector: torch.Tensor, name: str) -> Adapter:
        """A point in factors space from its tensors as one vector, `[P]`."""
        made = self.start.with_vector(vector, name=name)
        return self._with_head(replace(made, sources=sources_of(self.points)))

    def _with_head(self, point: Adapter) -> Adapter:
        """The point with the start's head bit for bit, where a policy gives it to all: a weighted mean is rounded."""
        return point if self.heads is None or not self.start.saved else with_heads_of(point, self.start)

    def distance(self, t: float) -> float:
        """The L2 distance of the point at t from the start, in the coordinates of the path's space."""
        row, first = self.coefficients(torch.tensor([t, 0.0], dtype=torch.float64))  # [K] each
        away = row - first
        return float((away @ self.centred_gram @ away).clamp(min=0.0).sqrt())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, space={self.space!r}, points={len(self.points)})"


def _check_comparable(points: Sequence[Adapter]) -> None:
    """Raise unless the points' own tensors mean the same: one layout, one scaling."""
    first = points[0]
    for other in points[1:]:
        first.layout.check(other.layout, other.name)
        kinds = first.config.kind, other.config.kind
        modules = [name.removesuffix(".weight") for name in first.updates]
        scalings = [kind.scalings(point.config, modules) for kind, point in zip(kinds, (first, other), strict=True)]
        differing = [name for name in scalings[0] if scalings[0][name] != scalings[1].get(name)]
        if kinds[0] is not kinds[1]:
            differing = [f"{kinds[0].name} and {kinds[1].name}"]
        if differing:
            raise PathError(
                f"{first.name} and {other.name} scale their factors differently",
                expected="the same kind, and the same lora_alpha, rank and scaling rule in every module",
                got=f"different scalings in {listed(differing)}",
                remedy='join them in space="weights"' if all(kind.has_update for kind in kinds) else "train them alike",
            )
