"""GraLoRA: low-rank updates of the blocks of a matrix, block by block."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from modeconn.adapters.kinds.factored import Factored
from modeconn.adapters.kinds.kind import Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.per_module import misfit, read_per_module
from modeconn.adapters.kinds.values import is_bias, is_number, is_rank
from modeconn.adapters.part import LowRank

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

_BLOCKS, _GENERAL = ("gralora_A", "gralora_B"), ("gralora_A_general.weight", "gralora_B_general.weight")


@dataclass(frozen=True, eq=False)
class Blocks(Factored):
    """Low-rank updates of the k x k blocks of a matrix, and one of all of it beside them.

    GraLoRA (Jung 2025, arXiv 2505.20355): `dW_mn = s B_mn A_nm` of rank r / k, together of rank k r.

    Attributes:
        down: A, `[k, in / k, r]`; the columns `m r / k ...` of A_n are those of block (m, n).
        up: B, `[k, r, out / k]`; the rows `n r / k ...` of B_m are those of block (m, n).
        general: `B A` of all of the matrix, of rank `hybrid_r`; None without.
        scaling: The factor s, no unit.
    """

    down: torch.Tensor
    up: torch.Tensor
    general: LowRank | None
    scaling: float

    @property
    def shape(self) -> tuple[int, ...]:
        """`[out, in]`."""
        return self.up.shape[0] * self.up.shape[2], self.down.shape[0] * self.down.shape[1]

    @property
    def is_zero(self) -> bool:
        """Whether a factor of the blocks is zero, and one of the general part."""
        return not (self.down.any() and self.up.any()) and (self.general is None or self.general.is_zero)

    def pair(self) -> LowRank:
        """The factors of rank k r, `[out, (m n r/k)]` and `[(m n r/k), in]`, which hold zeros outside of the blocks."""
        count, width, rank = self.down.shape
        part = rank // count
        up = torch.block_diag(*self.up.double().transpose(1, 2))  # [out, (m n r/k)]
        down = self.down.new_zeros(count, count, part, count, width, dtype=torch.float64)  # [m, n, r/k, n, in/k]
        split = self.down.double().reshape(count, width, count, part)  # [n, in/k, m, r/k]
        for block in range(count):
            down[:, block, :, block] = split[block].permute(1, 2, 0)
        down = down.reshape(count * rank, count * width)
        if self.general is not None:
            up = torch.cat([up, self.general.up.double()], dim=1)
            down = torch.cat([down, self.general.down.double()], dim=0)
        return LowRank(up, down, self.scaling)


def read_gralora(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort a GraLoRA file's tensors; every one is used.

    Raises:
        AdapterError: If a tensor is missing, left over, or of a shape or rank that does not fit.
    """
    raw = config.raw
    rank, count, hybrid = raw.get("r", 32), raw.get("gralora_k", 2), raw.get("hybrid_r") or 0

    def part(unread: Unread, module: str) -> Blocks:
        names = (*_BLOCKS, *_GENERAL) if hybrid else _BLOCKS
        found = {name: unread.take(module, f".{name}") for name in names}
        down, up, *general = found.values()
        fits = down.ndim == up.ndim == 3 and down.shape[::2] == (count, rank) and up.shape[:2] == (count, rank)
        size = (up.shape[0] * up.shape[2], down.shape[0] * down.shape[1]) if fits else None
        wide = not general or (tuple(general[0].shape), tuple(general[1].shape)) == (
            (hybrid, size[1] if size else None),
            (size[0] if size else None, hybrid),
        )
        if not fits or not wide or rank % count:
            expected = (
                f"gralora_A [k, in / k, r] and gralora_B [k, r, out / k] with k = {count}, which divides r = {rank}"
                + (f", and general factors of rank {hybrid}" if hybrid else "")
            )
            raise misfit(config, module, expected, found, most=3)
        beside = LowRank(general[1], general[0], 1.0) if general else None
        return Blocks(down, up, beside, _scaling(config))

    return read_per_module(
        Unread(tensors, config), (".gralora_A",), part, "gralora_A and gralora_B of each module, and hybrid factors"
    )


def _scaling(config: "AdapterConfig") -> float:
    """The factor s, `alpha / (r + hybrid_r)`."""
    return config.raw.get("alpha", 64) / (config.raw.get("r", 32) + (config.raw.get("hybrid_r") or 0))


def _scalings(config: "AdapterConfig", modules: Sequence[str]) -> Mapping[str, object]:  # noqa: ARG001
    """What else than the tensors decides the update."""
    return {"alpha / (r + hybrid_r)": _scaling(config)}


GRALORA = Kind(
    "GRALORA",
    read_gralora,
    frozenset({"alpha", "bias", "fan_in_fan_out", "gralora_dropout", "gralora_k", "hybrid_r", "init_weights", "r"}),
    fits={
        "alpha": is_number,
        "bias": is_bias,
        "gralora_k": is_rank,
        "hybrid_r": lambda value: not value or is_rank(value),
        "r": is_rank,
    },
    scalings=_scalings,
)
