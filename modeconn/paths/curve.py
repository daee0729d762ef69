"""Paths whose coefficients have a derivative in closed form: what curves and chains have in common."""

from abc import abstractmethod
from functools import cached_property
from typing import Any, TypeVar

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.errors import PathError
from modeconn.paths.line import LinearPath
from modeconn.paths.path import Path, Space

CurveKind = TypeVar("CurveKind", bound="Curve")


class Curve(Path):
    """A path that knows its derivative, and where it has kinks."""

    @abstractmethod
    def derivative(self, t: torch.Tensor) -> torch.Tensor:
        """The derivative of the coefficients, `[T] -> [T, K]`, float64; at a joint, that of the piece on its right."""

    @property
    def joints(self) -> tuple[float, ...]:
        """The positions in (0, 1) where the path may have a kink, in order."""
        return ()

    @property
    def bends(self) -> tuple[Adapter, ...]:
        """The control points between the ends."""
        return self.points[1:-1]

    def speed(self, t: torch.Tensor) -> torch.Tensor:
        """L2 distance per unit of t, `|path'(t)| = sqrt(c'^T G c')`, `[T] -> [T]`, float64.

        G is the Gram matrix of the control points, so the cost does not depend on the number of parameters.
        """
        return norms(self.derivative(t), self.gram)

    def _derived(
        self,
        kind: type[CurveKind],
        matrix: torch.Tensor,
        *,
        name: str,
        **fields: Any,  # noqa: ANN401
    ) -> CurveKind:
        """A curve through combinations of the control points, `[K', K]`, in the coordinates of this one."""
        # Not by the constructor: it would turn aligned factors again, into the gauge of another first point.
        kept = {key: value for key, value in vars(self).items() if not _is_computed(kind, key)}
        points = tuple(self._point(row, f"point {number} of {name}") for number, row in enumerate(matrix))
        other = object.__new__(kind)
        vars(other).update(kept, points=points, name=name, **fields)
        return other


def norms(rows: torch.Tensor, gram: torch.Tensor) -> torch.Tensor:
    """The L2 norms of combinations of points, `[T, K]` and their Gram matrix `[K, K]` -> `[T]`."""
    return ((rows @ gram) * rows).sum(dim=1).clamp(min=0.0).sqrt()  # [T, K] -> [T]


def points_on_line(start: Adapter, end: Adapter, num_points: int, *, space: Space) -> list[Adapter]:
    """Points evenly on the line; the first and last are its ends.

    In weights space each is a combination that shares the ends' factors: no dense update, no copy.
    """
    line = LinearPath(start, end, space=space)
    return [line(number / (num_points - 1)) for number in range(num_points)]


def check_count(
    what: str, count: int, *, least: int, most: int | None = None, remedy: str, owner: str = "a path"
) -> None:
    """Raise a `PathError` unless a whole number lies between two bounds."""
    if isinstance(count, int) and least <= count <= (count if most is None else most):
        return
    raise PathError(
        f"{owner} cannot have {count!r} {what}",
        expected=f"a whole number from {least}" + ("" if most is None else f" to {most}"),
        got=repr(count),
        remedy=remedy,
    )


def _is_computed(kind: type, name: str) -> bool:
    """Whether a class computes an attribute from the others."""
    return isinstance(getattr(kind, name, None), property | cached_property)
