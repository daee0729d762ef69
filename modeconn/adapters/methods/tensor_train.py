"""Matrices held as tensor-trains: their shapes, their start and their contraction."""

import math
from collections.abc import Mapping, Sequence

import torch

from modeconn.errors import AdapterError

Shape = tuple[int, ...]

# (width, rank) -> the shapes of the published runs of LoRETTA (Yang 2024, arXiv 2402.11417).
PUBLISHED_SHAPES: Mapping[tuple[int, int], Shape] = {
    (768, 8): (8, 8, 12, 8),
    (768, 64): (8, 8, 12, 8, 8),
    (1024, 8): (4, 8, 8, 8, 4),
    (1024, 64): (4, 8, 8, 8, 8, 4),
    (4096, 8): (16, 16, 8, 4, 4),
    (4096, 64): (16, 16, 16, 4, 4, 4),
}
_MODE = 8  # the size that modes are brought near to, as in most of the published shapes


def contract(cores: Sequence[torch.Tensor]) -> torch.Tensor:
    """The tensor of a tensor-train.

    Oseledets (2011): `T[i_1, ..., i_d] = G_1[:, i_1, :] G_2[:, i_2, :] ... G_d[:, i_d, :]`.

    Args:
        cores: d cores, core k `[r_{k-1}, n_k, r_k]` with `r_0 = r_d = 1`.

    Returns:
        `[n_1, ..., n_d]`.

    Raises:
        AdapterError: If the cores do not fit together.

    Example:
        >>> row, column = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[3.0], [4.0], [5.0]]])
        >>> contract([row, column]).tolist()
        [[3.0, 4.0, 5.0], [6.0, 8.0, 10.0]]
    """
    shapes = [tuple(core.shape) for core in cores]
    three = bool(shapes) and all(len(shape) == 3 for shape in shapes)
    if not three or [1, *(s[2] for s in shapes)] != [*(s[0] for s in shapes), 1]:
        raise AdapterError(
            "the cores of a tensor-train do not fit together",
            expected="cores [r_0, n_1, r_1], [r_1, n_2, r_2], ... that begin and end with r = 1",
            got=", ".join(str(list(shape)) for shape in shapes) or "no core",
            remedy="use the weights as they were saved",
        )
    result = cores[0]
    for core in cores[1:]:
        result = torch.tensordot(result, core, dims=1)  # [1, n_1, ..., n_k, r_k]
    return result.squeeze(0).squeeze(-1)


def matrix(cores: Sequence[torch.Tensor], rows: int, columns: int) -> torch.Tensor:
    """The matrix `[rows, columns]` that a tensor-train holds, its entries in row-major order.

    Raises:
        AdapterError: If the cores do not fit together, or hold another number of entries.
    """
    tensor = contract(cores)
    if tensor.numel() != rows * columns:
        raise AdapterError(
            "a tensor-train does not hold the matrix that it stands for",
            expected=f"{rows} x {columns} = {rows * columns} entries",
            got=f"{' x '.join(map(str, tensor.shape))} = {tensor.numel()}",
            remedy="use the adapter_config.json that was saved with these weights",
        )
    return tensor.reshape(rows, columns)


def new_cores(shape: Shape, rank: int, *, std: float) -> list[torch.Tensor]:
    """Random cores of a tensor whose entries have mean 0 and a given standard deviation.

    The published start of LoRETTA: core k is normal with variance `std^(2/d) / r_k`.

    Args:
        shape: The modes `n_1, ..., n_d`.
        rank: All ranks but the first and the last, which are 1.
        std: The standard deviation of the entries.

    Returns:
        d cores, float32; torch's global generator gives the numbers, as in PEFT's own methods.
    """
    ranks = [1, *[rank] * (len(shape) - 1), 1]
    scale = std ** (1 / len(shape))
    return [
        torch.randn(before, mode, after) * (scale / math.sqrt(after))
        for before, mode, after in zip(ranks, shape, ranks[1:], strict=False)
    ]


def tensor_shape(width: int, rank: int, given: Sequence[Sequence[int]] | None = None) -> Shape:
    """The modes into which the entries of a `width x rank` matrix are sorted.

    The first of: a given shape with that number of entries; the published shape; the factors of the width and then
    those of the rank, each balanced. Where the modes keep width and rank apart, as the last kind does and the published
    shapes of width 768 do, a product of two such matrices has at most the rank R of the tensor-trains. Where one mode
    straddles both, as in the published shapes of widths 1024 and 4096 at rank 8, it may have more.

    Args:
        width: Features of the module.
        rank: The rank of LoRETTA rep, or the bottleneck of LoRETTA adp.
        given: Shapes to prefer; each is for the matrices that have as many entries as it has.

    Example:
        >>> tensor_shape(768, 8), tensor_shape(320, 4), tensor_shape(320, 4, [(40, 32)])
        ((8, 8, 12, 8), (8, 8, 5, 4), (40, 32))
    """
    for shape in given or ():
        if math.prod(shape) == width * rank:
            return tuple(shape)
    return PUBLISHED_SHAPES.get((width, rank)) or balanced_modes(width) + balanced_modes(rank)


def balanced_modes(size: int) -> Shape:
    """Factors of a number, near to 8 each as far as its prime factors allow, the largest first.

    Example:
        >>> balanced_modes(768), balanced_modes(8), balanced_modes(1), balanced_modes(769)
        ((12, 8, 8), (8,), (1,), (769, 1, 1))
    """
    modes = [1] * max(1, round(math.log(size, _MODE)))
    for prime in reversed(_prime_factors(size)):
        modes[modes.index(min(modes))] *= prime
    return tuple(sorted(modes, reverse=True))


def _prime_factors(size: int) -> list[int]:
    """The prime factors of a number, ascending."""
    factors, divisor = [], 2
    while divisor * divisor <= size:
        while size % divisor == 0:
            factors.append(divisor)
            size //= divisor
        divisor += 1
    return [*factors, size] if size > 1 else factors
