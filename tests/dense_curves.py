"""Slow references for curves: dense points in float64, de Casteljau's recursion, quadrature of chords."""

import torch
from points import dense, make_point, make_tensors

from modeconn.adapters.adapter import Adapter


def make_points(number: int, *, first_seed: int = 1) -> list[Adapter]:
    """Random adapters of one layout, named p0, p1, ..."""
    return [make_point(make_tensors(first_seed + k), fields={"name": f"p{k}"}) for k in range(number)]


def dense_points(number: int, *, first_seed: int = 1) -> torch.Tensor:
    """The updates of `make_points` as rows, `[K, P]`, float64, from their tensors."""
    return torch.stack([flat(dense(make_tensors(first_seed + k))) for k in range(number)])


def factor_points(number: int, *, first_seed: int = 1) -> torch.Tensor:
    """The tensors of `make_points` as rows, `[K, P]`, float64, in the order of their names."""
    return torch.stack([flat(make_tensors(first_seed + k)) for k in range(number)])


def flat(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """Named tensors as one vector, in the order of their names, float64."""
    return torch.cat([tensors[name].double().reshape(-1) for name in sorted(tensors)])


def update_of(point: Adapter) -> torch.Tensor:
    """A point's dense updates as one vector."""
    return flat({name: update.dense() for name, update in point.updates.items()})


def de_casteljau(rows: torch.Tensor, t: float) -> torch.Tensor:
    """The point of a Bezier curve, `[K, P] -> [P]`, by repeated linear interpolation."""
    if len(rows) == 1:
        return rows[0]
    return de_casteljau((1 - t) * rows[:-1] + t * rows[1:], t)
