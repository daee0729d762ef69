"""MiSS, which was called Bone: one small matrix for all stretches of the inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from modeconn.adapters.kinds.kind import Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.of_base import OfBase
from modeconn.adapters.kinds.per_module import misfit, read_per_module
from modeconn.adapters.kinds.values import is_bias, is_flag, is_rank
from modeconn.adapters.part import ANY, BaseWeights, LowRank, Part, linear_shape
from modeconn.adapters.update import needs_base
from modeconn.errors import AdapterError

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

_OLD, _NEW = ".bone_block", ".miss_block"


@dataclass(frozen=True, eq=False)
class Tiles(OfBase):
    """One matrix that is repeated along the inputs; the last copy is cut off where they end.

    MiSS (Kang 2024, arXiv 2409.15371): `dW = D^T [I I ... I]`, of rank r.

    Attributes:
        block: D, `[r, out]`, or `[r, m]` with m a divisor of `out`, where it is repeated along the outputs too.
        spans: Whether m is `out`.
    """

    block: torch.Tensor
    spans: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        """`[out, in]`, of which only the base knows `in`."""
        return (self.block.shape[1] if self.spans else ANY), ANY

    @property
    def is_zero(self) -> bool:
        """Whether D is zero."""
        return not self.block.any()

    def within(self, base: BaseWeights, parameter: str) -> Part:
        """The factors, which need no base."""
        return self._pair(*linear_shape(base, parameter)) if base.has(parameter) else self

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """`D^T [I I ... I]`."""
        if base is None:
            raise needs_base("MiSS")
        return self._pair(*base.shape).delta(base)

    def _pair(self, rows: int, columns: int) -> LowRank:
        """The factors of a module of this size."""
        rank, width = self.block.shape
        if rows % width or rank > columns:
            raise _misfit(f"outputs that {width} divides and at least {rank} inputs", rows, columns)
        identity = torch.eye(rank).repeat(1, -(-columns // rank))[:, :columns]  # [r, in]
        return LowRank(self.block.T.repeat(rows // width, 1), identity.contiguous(), 1.0)


@dataclass(frozen=True, eq=False)
class BlockAffine(OfBase):
    """A change of square blocks of the weight that follows the weight itself.

    Bone (Kang 2024, arXiv 2409.15371), `init_weights="bat"`: `dW_oi = W_oi D_o + D_o` for the block in row o and
    column i.

    Attributes:
        blocks: The D, `[out / r, r, r]`.
    """

    blocks: torch.Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """`[out, in]`, the second of which only the base knows."""
        return self.blocks.shape[0] * self.blocks.shape[1], ANY

    @property
    def is_zero(self) -> bool:
        """Whether all D are zero."""
        return not self.blocks.any()

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """`W_oi D_o + D_o` block by block."""
        if base is None:
            raise needs_base("MiSS")
        blocks = self.blocks.to(base.device, base.dtype)
        size = blocks.shape[-1]
        if base.shape[1] % size:
            raise _misfit(f"inputs that {size} divides", *base.shape)
        weight = base.reshape(len(blocks), size, -1, size)  # [o, r, i, r]
        return (torch.einsum("oaib,obc->oaic", weight, blocks) + blocks[:, :, None]).reshape(base.shape)


def _misfit(expected: str, rows: int, columns: int) -> AdapterError:
    """The error for a weight whose size does not fit."""
    return AdapterError(
        "an update of MiSS does not fit the base model",
        expected=expected,
        got=f"a weight [{rows}, {columns}]",
        remedy="give the base that the adapter was trained on",
    )


def read_miss(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort a MiSS file's tensors; every one is used.

    Raises:
        AdapterError: If a tensor is left over, or of a shape or rank that does not fit.
    """
    rank, form = config.raw.get("r", 64), config.raw.get("init_weights", True)

    def part(unread: Unread, module: str) -> Part:
        block = unread.take(module, _NEW)
        found = {"miss_block": block}
        if form == "bat":
            if block.ndim != 3 or not rank == block.shape[1] == block.shape[2]:
                raise misfit(config, module, f"miss_block [out / r, r, r] with r = {rank}", found, most=3)
            return BlockAffine(block)
        width = config.raw.get("mini_r", 1) if form == "mini" else block.shape[-1]
        if block.ndim != 2 or tuple(block.shape) != (rank, width):
            told = f"[r, mini_r] with mini_r = {width} and" if form == "mini" else "[r, out] with"
            raise misfit(config, module, f"miss_block {told} r = {rank}", found, most=3)
        return Tiles(block, spans=form != "mini")

    return read_per_module(Unread(tensors, config), (_NEW,), part, "a miss_block of each module")


def from_bone(raw: Mapping[str, Any], tensors: Tensors) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """A Bone adapter, as PEFT 0.14 to 0.18 wrote them, as the MiSS adapter that later versions load.

    Args:
        raw: The content of adapter_config.json.
        tensors: The file's tensors.

    Example:
        >>> raw, tensors = from_bone({"peft_type": "BONE", "r": 2}, {"base_model.model.q.bone_block": torch.ones(2, 3)})
        >>> raw, list(tensors)
        ({'peft_type': 'MISS', 'r': 2}, ['base_model.model.q.miss_block'])
    """
    return {**raw, "peft_type": "MISS"}, {
        name.removesuffix(_OLD) + _NEW if name.endswith(_OLD) else name: value for name, value in tensors.items()
    }


def _scalings(config: "AdapterConfig", modules: Sequence[str]) -> Mapping[str, object]:  # noqa: ARG001
    """What else than the blocks decides the update."""
    form = config.raw.get("init_weights", True)
    return {"init_weights": form if isinstance(form, str) else None}


MISS = Kind(
    "MISS",
    read_miss,
    frozenset({"bias", "init_weights", "mini_r", "miss_dropout", "r"}),
    fits={
        "bias": is_bias,
        "init_weights": lambda value: is_flag(value) or value in ("bat", "mini"),
        "mini_r": is_rank,
        "r": is_rank,
    },
    scalings=_scalings,
)
