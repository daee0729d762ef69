"""BOFT: inputs that are rotated by a product of sparse rotations, as a change of the weights."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from modeconn.adapters.kinds.cayley import by_blocks, cayley_less_one
from modeconn.adapters.kinds.kind import Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.of_base import OfBase
from modeconn.adapters.kinds.per_module import misfit, read_per_module
from modeconn.adapters.kinds.values import is_bias
from modeconn.adapters.update import needs_base

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig


@dataclass(frozen=True, eq=False)
class Butterfly(OfBase):
    """A rotation of the inputs as a product of sparse ones, and scaled outputs.

    BOFT (Liu 2023, arXiv 2311.06243): `dW = diag(s) W (R_N ... R_1)^T - W`, each R a rotation of blocks between two
    permutations.

    Attributes:
        blocks: The matrices whose skew-symmetric parts are Q, `[N, blocks, b, b]`.
        scales: s, `[out]`.
    """

    blocks: torch.Tensor
    scales: torch.Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """`[out, in]`."""
        return len(self.scales), self.blocks.shape[1] * self.blocks.shape[2]

    @property
    def is_zero(self) -> bool:
        """Whether all rotations are the identity and all scales 1."""
        return torch.equal(self.blocks, self.blocks.mT) and bool((self.scales == 1).all())

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """`diag(s) W (R_N ... R_1)^T - W`."""
        if base is None:
            raise needs_base("BOFT")
        blocks, scales = (value.to(base.device, base.dtype) for value in (self.blocks, self.scales))
        rotated = base
        for level, raw in enumerate(blocks):
            change = cayley_less_one((raw - raw.mT) / 2, 0)
            if len(blocks) == 1:
                rotated = rotated + by_blocks(rotated, change.mT)
                continue
            order = _interleaved(base.shape[1], groups=len(raw) >> level, half=raw.shape[-1] // 2).to(base.device)
            permuted = rotated[:, order.argsort()]
            rotated = rotated + by_blocks(permuted, change.mT)[:, order]
        return scales[:, None] * (rotated - base) + (scales[:, None] - 1) * base


def _interleaved(size: int, *, groups: int, half: int) -> torch.Tensor:
    """The order of a butterfly: within each group, first the even and then the odd runs of `half` numbers, `[size]`."""
    runs = torch.arange(size).reshape(groups, -1, half)  # [groups, runs, half]
    return torch.cat([runs[:, ::2], runs[:, 1::2]], dim=1).reshape(-1)


def read_boft(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort a BOFT file's tensors; every one is used.

    Raises:
        AdapterError: If a tensor is missing, left over, or of a shape that does not fit.
    """

    def part(unread: Unread, module: str) -> Butterfly:
        found = {name: unread.take(module, f".{name}") for name in ("boft_R", "boft_s")}
        blocks, scales = found.values()
        fits = blocks.ndim == 4 and blocks.shape[2] == blocks.shape[3] and scales.ndim == 2 and scales.shape[1] == 1
        if not fits or not _is_butterfly(*blocks.shape[:3]):
            expected = "boft_R [N, n, b, b] and boft_s [out, 1]; for N > 1 an even b, and n a multiple of 2^(N - 1)"
            raise misfit(config, module, expected, found, most=4)
        return Butterfly(blocks, scales.reshape(-1))

    return read_per_module(Unread(tensors, config), (".boft_R",), part, "boft_R and boft_s of each module")


def _is_butterfly(factors: int, blocks: int, size: int) -> bool:
    """Whether the blocks can be put between the permutations of as many factors."""
    return factors == 1 or (size % 2 == 0 and blocks % 2 ** (factors - 1) == 0)


def _lacks_kernel(tensors: Tensors) -> str:
    """Why PEFT cannot load several factors here: it multiplies them by a kernel that it compiles for GPUs."""
    # Not what the settings say: without the kernel PEFT trains one factor, and writes down the number it was asked for.
    factors = max((len(value) for name, value in tensors.items() if name.endswith(".boft_R")), default=1)
    if factors == 1:
        return ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from peft.tuners.boft import layer

        built = layer.get_fbd_cuda() is not None
    return "" if built else f"{factors} butterfly factors, and no kernel, without which PEFT multiplies by one only"


BOFT = Kind(
    "BOFT",
    read_boft,
    frozenset(
        {
            "bias",
            "boft_block_num",
            "boft_block_size",
            "boft_dropout",
            "boft_n_butterfly_factor",
            "fan_in_fan_out",
            "init_weights",
        }
    ),
    fits={"bias": is_bias},
    unloadable=_lacks_kernel,
)
