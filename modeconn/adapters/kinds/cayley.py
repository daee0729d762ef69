"""Rotations made of skew-symmetric matrices, applied block by block."""

import torch


def cayley_less_one(skew: torch.Tensor, terms: int) -> torch.Tensor:
    """`(I - Q)(I + Q)^-1 - I` block by block; by PEFT's sign with terms, `I + 2 Q + 2 Q^2 + ... + Q^(terms - 1) - I`.

    Args:
        skew: Q, `[n, b, b]`.
        terms: 0 for the exact inverse.
    """
    identity = torch.eye(skew.shape[-1], dtype=skew.dtype, device=skew.device)
    if terms == 0:
        return torch.linalg.solve(identity + skew, -2 * skew, left=False)
    total = torch.zeros_like(skew)
    if terms > 1:
        total = total + 2 * skew
    if terms > 2:
        power = skew @ skew
        total = total + 2 * power
        for _ in range(3, terms - 1):
            power = power @ skew
            total = total + 2 * power
        total = total + power @ skew
    return total


def by_blocks(weight: torch.Tensor, blocks: torch.Tensor) -> torch.Tensor:
    """A matrix times a block-diagonal one, `[rows, n b] x [n or 1, b, b] -> [rows, n b]`."""
    size = blocks.shape[-1]
    split = weight.reshape(len(weight), -1, size)  # [rows, n, b]
    return torch.einsum("rnk,nkc->rnc", split, blocks.expand(split.shape[1], size, size)).reshape(weight.shape)
