"""The Hilbert-Schmidt independence criterion, biased and debiased, from features or from Gram matrices."""

import torch


def hsic_of_features(x: torch.Tensor, y: torch.Tensor, *, debiased: bool) -> torch.Tensor:
    """HSIC with linear kernels from centred features, without the Gram matrices.

    With column means taken off, the Grams `K = X X'` and `L = Y Y'` have row sums 0, so that all sums over the
    zero-diagonal Grams of Song 2012 (Nguyen 2021, arXiv 2010.15327, eq. 3) follow from their diagonals `k`, `l`::

        HSIC_1 = [|X' Y|^2 - n / (n - 2) k . l + tr K tr L / ((n - 1) (n - 2))] / (n (n - 3))

    Args:
        x: `[N, P]` float64, centred.
        y: `[N, Q]` float64, centred.
        debiased: Whether the unbiased estimate is wanted, or `tr K L / (n - 1)^2`.

    Returns:
        A number.
    """
    number = len(x)
    together = (x.T @ y).square().sum()
    if not debiased:
        return together / (number - 1) ** 2
    return debiased_from(together, x.square().sum(1), y.square().sum(1))


def hsic_of_grams(gram: torch.Tensor, other: torch.Tensor, *, debiased: bool) -> torch.Tensor:
    """HSIC of two Gram matrices, centred here.

    Args:
        gram: `[N, N]` float64.
        other: `[N, N]` float64.
        debiased: Whether the unbiased estimate is wanted.

    Returns:
        A number.
    """
    number = len(gram)
    first, second = _double_centred(gram), _double_centred(other)
    if not debiased:
        return (first * second).sum() / (number - 1) ** 2
    return (u_centred(first) * u_centred(second)).sum() / (number * (number - 3))


def debiased_from(together: torch.Tensor, diagonal: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The debiased HSIC from `tr K L` and the diagonals of two centred Gram matrices.

    Args:
        together: `[...]`, `tr K L`.
        diagonal: `[..., N]`, of K.
        other: `[..., N]`, the diagonal of L.

    Returns:
        `[...]`.
    """
    number = diagonal.shape[-1]
    itself = number / (number - 2) * (diagonal * other).sum(-1)
    traces = diagonal.sum(-1) * other.sum(-1) / ((number - 1) * (number - 2))
    return (together - itself + traces) / (number * (number - 3))


def u_centred(gram: torch.Tensor) -> torch.Tensor:
    """A centred Gram matrix as Szekely and Rizzo (2014, arXiv 1310.2926) centre it: `<A, B> / (n (n - 3))` is HSIC_1.

    Nothing large cancels here: the diagonal, which is all of a Gram with many more features than examples, is gone
    before anything is summed.

    Args:
        gram: `[..., N, N]`, with row sums 0.

    Returns:
        `[..., N, N]`, the diagonal 0.
    """
    number = gram.shape[-1]
    diagonal = gram.diagonal(dim1=-2, dim2=-1)  # [..., N]
    around = (diagonal[..., :, None] + diagonal[..., None, :]) / (number - 2)
    total = diagonal.sum(-1)[..., None, None] / ((number - 1) * (number - 2))
    found = gram + around - total
    found.diagonal(dim1=-2, dim2=-1).zero_()
    return found


def _double_centred(gram: torch.Tensor) -> torch.Tensor:
    """A Gram matrix without its rows' and columns' means."""
    rows = gram - gram.mean(0, keepdim=True)
    return rows - rows.mean(1, keepdim=True)
