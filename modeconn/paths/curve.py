"""Paths whose coefficients have a derivative in closed form: what curves and chains have in common."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any, TypeVar

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.errors import PathError
from modeconn.paths.path import Path

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
        return norms(self.derivative(t), self.centred_gram)


def derived(
    path: Path,
    kind: type[CurveKind],
    matrix: torch.Tensor,
    *,
    name: str,
    **fields: Any,  # noqa: ANN401
) -> CurveKind:
    """A curve through combinations of a path's control points, in the coordinates of that path.

    Args:
        path: Where points and coordinates come from.
        kind: The class of the result.
        matrix: Coefficients of the result's control points, `[K', K]`, float64.
        name: How tables call the result.
        fields: Further attributes of `kind`, such as a degree.
    """
    # Not by the constructor: it would turn aligned factors again, into the gauge of another first point.
    kept = {key: value for key, value in vars(path).items() if not _is_computed(kind, key)}
    points = tuple(path.point(row, f"point {number} of {name}") for number, row in enumerate(matrix))
    other = object.__new__(kind)
    vars(other).update(kept, points=points, name=name, **fields)
    return other


def curve_name(kind: str, points: Sequence[Adapter], name: str | None) -> str:
    """The name that was given, else one that tells a curve from the line between the same ends: "bezier a -> b"."""
    return name or f"{kind} {points[0].name} -> {points[-1].name}"


def derivative(path: Path, t: torch.Tensor) -> torch.Tensor:
    """The derivative of a path's coefficients, `[T] -> [T, K]`: its own, or by automatic differentiation.

    Args:
        path: Any path.
        t: Positions, `[T]`.
    """
    if isinstance(path, Curve):
        return path.derivative(t)
    with torch.enable_grad():
        t = t.double().detach().requires_grad_()
        totals = path.coefficients(t).sum(dim=0)  # [K]; a row depends on its own position only
        columns = [torch.autograd.grad(one, t, retain_graph=True, materialize_grads=True)[0] for one in totals]
    return torch.stack(columns, dim=1)  # [T, K]


def speed(path: Path, t: torch.Tensor) -> torch.Tensor:
    """L2 distance per unit of t, `[T] -> [T]`, float64.

    Args:
        path: Any path.
        t: Positions, `[T]`.
    """
    if isinstance(path, Curve):
        return path.speed(t)
    return norms(derivative(path, t), path.centred_gram)


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


def joints(path: Path) -> tuple[float, ...]:
    """A path's joints; one that knows of none is taken to be smooth."""
    return path.joints if isinstance(path, Curve) else ()


def norms(rows: torch.Tensor, gram: torch.Tensor) -> torch.Tensor:
    """The L2 norms of combinations of points, `[T, K]` and their Gram matrix `[K, K]` -> `[T]`."""
    return ((rows @ gram) * rows).sum(dim=1).clamp(min=0.0).sqrt()  # [T, K] -> [T]


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
