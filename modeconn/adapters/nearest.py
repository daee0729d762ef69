"""The nearest pair of factors to a matrix, a kernel or a stack of experts, and how near it is."""

from dataclasses import dataclass

import torch

from modeconn.adapters.kinds.convolution import Convolution
from modeconn.adapters.kinds.fused import Fused
from modeconn.adapters.part import LowRank


@dataclass(frozen=True, eq=False)
class Nearest:
    """An update of low rank, and the squares of what was lost and of what there was."""

    part: LowRank | Fused | Convolution
    lost: float
    total: float


def from_factors(up: torch.Tensor, down: torch.Tensor, rank: int, *, lookup: bool) -> Nearest:
    """The nearest pair to the matrix `up @ down`."""
    near_up, near_down, lost, total = _nearest_pair(up, down, rank)
    return _rounded(near_up, near_down, lookup, lost, total)


def of_experts(experts: Fused, rank: int) -> Nearest:
    """The nearest pair of each expert, of one rank for all; what is lost and what there was are sums over experts."""
    up, down, lost, total = _nearest_pair(experts.up.double(), experts.down.double() * experts.scaling, rank)
    return Nearest(Fused(up.float().contiguous(), down.float().contiguous(), 1.0), lost, total)


def of_kernel(kernel: Convolution, rank: int) -> Nearest:
    """The nearest pair to a kernel `[out, in, ...]`, a matrix with as many rows as it has outputs."""
    flat = kernel.down.flatten(1).double() * kernel.scaling  # [R, in k]
    up, down, lost, total = _nearest_pair(kernel.up.double(), flat, rank)
    down = down.float().reshape(len(down), *kernel.down.shape[1:])
    return Nearest(Convolution(up.float().contiguous(), down.contiguous(), 1.0), lost, total)


def _nearest_pair(up: torch.Tensor, down: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor, float, float]:
    """The nearest pair to `up @ down`, never formed.

    Args:
        up: `[..., rows, R]` float64.
        down: `[..., R, columns]` float64.
        rank: What is kept, of each matrix of a stack.

    Returns:
        `[..., rows, r]` and `[..., r, columns]`, and the squares of what was lost and of what there was.
    """
    basis_up, triangle_up = torch.linalg.qr(up)  # [..., rows, k], [..., k, R]
    basis_down, triangle_down = torch.linalg.qr(down.mT)  # [..., columns, m], [..., m, R]
    left, values, right = torch.linalg.svd(triangle_up @ triangle_down.mT, full_matrices=False)
    kept = min(rank, values.shape[-1])
    roots = values[..., :kept].sqrt()
    near_up = (basis_up @ left[..., :kept]) * roots[..., None, :]
    near_down = roots[..., :, None] * (right[..., :kept, :] @ basis_down.mT)
    return near_up, near_down, float((values[..., kept:] ** 2).sum()), float((values**2).sum())


def from_dense(change: torch.Tensor, rank: int, *, lookup: bool) -> Nearest:
    """The nearest pair to a dense matrix, `[rows, columns]` float64."""
    tall = change.shape[0] > change.shape[1]
    wide = change.T if tall else change
    kept = min(rank, wide.shape[0])
    basis = torch.linalg.eigh(wide @ wide.T).eigenvectors[:, -kept:]  # of the largest eigenvalues, [short, kept]
    other = basis.T @ wide  # [kept, long]
    lengths = other.norm(dim=1).clamp(min=torch.finfo(torch.float64).tiny)
    near, far = basis * lengths.sqrt(), other / lengths.sqrt()[:, None]
    total, held = float((wide**2).sum()), float((other**2).sum())
    up, down = (far.T, near.T) if tall else (near, far)
    return _rounded(up, down, lookup, max(total - held, 0.0), total)


def _rounded(up: torch.Tensor, down: torch.Tensor, lookup: bool, lost: float, total: float) -> Nearest:
    """The result in float32."""
    return Nearest(LowRank(up.float().contiguous(), down.float().contiguous(), 1.0, lookup=lookup), lost, total)
