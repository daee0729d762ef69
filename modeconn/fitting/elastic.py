"""The geometry of a nudged elastic band: points in a row, pulled straight by springs, pushed downhill by gradients."""

from collections.abc import Sequence

import torch


def tangents(points: torch.Tensor, losses: Sequence[float]) -> torch.Tensor:
    """Unit vectors along a chain at its inner points, `[K, P] -> [K - 2, P]`, towards the neighbour of higher loss.

    Henkelman and Jonsson 2000, as in Draxler 2018 (arXiv 1803.00885): a mean of both directions lets chains kink.

    Args:
        points: The chain, `[K, P]`.
        losses: Their losses, K numbers.

    Example:
        >>> tangents(torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 3.0]]), [0.0, 0.5, 1.0]).tolist()
        [[0.0, 1.0]]
    """
    heights = torch.as_tensor(losses, device=points.device)
    forward = points[2:] - points[1:-1]  # [K - 2, P]
    backward = points[1:-1] - points[:-2]
    uphill = torch.where((heights[2:] > heights[:-2])[:, None], forward, backward)
    return uphill / uphill.norm(dim=1, keepdim=True).clamp(min=torch.finfo(uphill.dtype).tiny)


def orthogonal(gradients: torch.Tensor, along: torch.Tensor) -> torch.Tensor:
    """Gradients without their parts along unit vectors, `[N, P], [N, P] -> [N, P]`.

    Example:
        >>> orthogonal(torch.tensor([[2.0, 3.0]]), torch.tensor([[1.0, 0.0]])).tolist()
        [[0.0, 3.0]]
    """
    return gradients - (gradients * along).sum(dim=1, keepdim=True) * along


def redistributed(points: torch.Tensor, shares: Sequence[float]) -> torch.Tensor:
    """Points on the same chain at given parts of its length, `[K, P] -> [K', P]`; the ends stay as they are.

    Args:
        points: The chain, `[K, P]`.
        shares: The part of the length that each segment of the result has, K' - 1 numbers that sum to 1.

    Example:
        >>> redistributed(torch.tensor([[0.0], [1.0], [4.0]]), [0.25, 0.5, 0.25]).tolist()
        [[0.0], [1.0], [3.0], [4.0]]
    """
    steps = points.diff(dim=0).double().norm(dim=1)  # [K - 1]
    lengths = torch.cat([steps.new_zeros(1), steps.cumsum(0)])  # [K]
    wanted = torch.as_tensor(shares, dtype=torch.float64, device=points.device).cumsum(0)[:-1] * lengths[-1]
    after = torch.searchsorted(lengths, wanted).clamp(1, len(points) - 1)  # [K' - 2]
    low, high = lengths[after - 1], lengths[after]
    part = ((wanted - low) / (high - low).clamp(min=1e-300)).to(points.dtype)[:, None]
    inner = torch.lerp(points[after - 1], points[after], part)
    return torch.cat([points[:1], inner, points[-1:]])


def insertions(losses: torch.Tensor, *, insert_above: float) -> dict[int, float]:
    """Where new pivots are needed: segment -> the part of it that lies before the new pivot.

    Of every segment the position where the loss is furthest above the straight line between its ends counts, if that is
    more than a part of the range of losses on the whole chain (Draxler 2018, arXiv 1803.00885).

    Args:
        losses: Of every segment at evenly spaced positions, both ends included, `[S, M]`.
        insert_above: That part, 0.2 in the paper.

    Example:
        >>> insertions(torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.1, 0.2]]), insert_above=0.2)
        {0: 0.5}
    """
    part = torch.linspace(0, 1, losses.shape[1], dtype=losses.dtype)  # [M]
    straight = losses[:, :1] + (losses[:, -1:] - losses[:, :1]) * part  # [S, M]
    excess, where = (losses - straight).max(dim=1)
    least = insert_above * (losses.max() - losses.min())
    return {segment: float(part[where[segment]]) for segment in (excess > least).nonzero().reshape(-1).tolist()}
