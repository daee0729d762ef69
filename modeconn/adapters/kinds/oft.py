"""OFT: inputs that are rotated block by block, as a change of the weights."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from modeconn.adapters.kinds.cayley import by_blocks, cayley_less_one
from modeconn.adapters.kinds.kind import Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.of_base import OfBase
from modeconn.adapters.kinds.per_module import finished, misfit
from modeconn.adapters.kinds.values import is_bias, is_flag, is_number
from modeconn.adapters.part import ANY
from modeconn.adapters.update import Update, needs_base
from modeconn.errors import AdapterError, listed

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

_AGAIN = "train the adapter again with a current PEFT, or merge it with the PEFT of its time and give the full model"
_CHANGED_IN = (0, 18)  # PEFT's version since which the Neumann series is summed as here
_NEVER_CHANGED = 2  # terms, up to which it is the same series


@dataclass(frozen=True, eq=False)
class Rotation(OfBase):
    """A rotation of the inputs, block by block.

    OFT (Qiu 2023, arXiv 2306.07280; Qiu 2025, arXiv 2506.19847): `W (R x)` with `R = (I - Q)(I + Q)^-1` and Q
    skew-symmetric, hence `dW = W (R^T - I)` in the convention of PEFT, which multiplies the row `x` by R. The inverse
    is exact, or the first terms of its Neumann series.

    Attributes:
        entries: The upper triangles of the blocks of Q, row by row, `[blocks, b (b - 1) / 2]`.
        shared: Whether the one block is used all along the inputs.
        terms: How many terms of the Neumann series; 0 stands for the exact inverse.
        bound: To what norm COFT scales Q down; None leaves it.
        table: Whether it is the table of an embedding, whose rows are rotated as they are looked up.
    """

    entries: torch.Tensor
    shared: bool = False
    terms: int = 0
    bound: float | None = None
    table: bool = False

    @property
    def block(self) -> int:
        """The size b of a block."""
        return (1 + math.isqrt(1 + 8 * self.entries.shape[1])) // 2

    @property
    def shape(self) -> tuple[int, ...]:
        """`[out, in]`, of which only the base knows `out`, and `in` if the block is shared."""
        return ANY, ANY if self.shared else len(self.entries) * self.block

    @property
    def stored(self) -> bool:
        """True for tables."""
        return self.table

    @property
    def is_zero(self) -> bool:
        """Whether Q is zero."""
        return not self.entries.any()

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """`W (R^T - I)`; for a table `W (R - I)`.

        Raises:
            AdapterError: If a shared block does not divide the inputs.
        """
        if base is None:
            raise needs_base("OFT")
        if base.shape[1] % self.block:
            raise AdapterError(
                "a rotation of OFT does not fit the base model",
                expected=f"a number of inputs that blocks of {self.block} divide",
                got=f"a weight {list(base.shape)}",
                remedy="give the base that the adapter was trained on",
            )
        skew = _skew(self.entries.to(base.device, base.dtype), self.block)
        if self.bound is not None:
            skew = _bounded(skew, self.bound)
        change = cayley_less_one(skew, self.terms)
        return by_blocks(base, change if self.table else change.mT)


def _skew(entries: torch.Tensor, block: int) -> torch.Tensor:
    """Skew-symmetric matrices from their upper triangles, `[n, b (b - 1) / 2] -> [n, b, b]`."""
    matrix = entries.new_zeros(len(entries), block, block)
    rows, columns = torch.triu_indices(block, block, 1)
    matrix[:, rows, columns] = entries
    return matrix - matrix.mT


def _bounded(skew: torch.Tensor, bound: float) -> torch.Tensor:
    """COFT: each block of Q with a norm of at most `bound / sqrt(n)`, as PEFT has it, which rounds that to float32."""
    limit = bound * 1 / torch.sqrt(torch.tensor(len(skew)))
    norm = torch.linalg.matrix_norm(skew, keepdim=True)
    return torch.where(norm <= limit, skew, limit * (skew / norm))


def read_oft(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort an OFT file's tensors; every one is used.

    Raises:
        AdapterError: If a tensor is left over, or is not of a triangle's size.
    """
    raw = config.raw
    terms = raw.get("num_cayley_neumann_terms", 5) if raw.get("use_cayley_neumann", True) else 0
    bound = raw.get("eps", 6e-5) if raw.get("coft") else None
    unread = Unread(tensors, config)
    _refuse_old(unread)
    updates = {}
    for name, table in (("oft_R", False), ("oft_embedding_R", True)):
        for module in unread.modules(f".{name}.weight"):
            entries = unread.take(module, f".{name}.weight")
            part = Rotation(entries, bool(raw.get("block_share")), terms, bound, table)
            whole = entries.ndim == 2 and part.block * (part.block - 1) // 2 == entries.shape[1]
            if not whole or (part.shared and len(entries) != 1):
                expected = f"{name} [{1 if part.shared else 'blocks'}, b (b - 1) / 2]"
                raise misfit(config, module, expected, {name: entries})
            updates[f"{module}.weight"] = Update.of(part)
    return finished(unread, dict(sorted(updates.items())), "an oft_R or oft_embedding_R of each module")


def _refuse_old(unread: Unread) -> None:
    """Raise if the rotations are those of a PEFT that held the whole matrices, and computed otherwise."""
    old = [f"{module}.oft_r" for module in unread.modules(".oft_r")]
    if old:
        raise AdapterError(
            f"{unread.config.origin} holds rotations of PEFT before 0.16",
            expected="an oft_R of each module, as later versions write them",
            got=listed(old),
            remedy=_AGAIN,
        )


def _old_rotations(raw: Mapping[str, Any]) -> list[str]:
    """Settings of versions of PEFT whose series was another."""
    if not raw.get("use_cayley_neumann", True) or raw.get("num_cayley_neumann_terms", 5) <= _NEVER_CHANGED:
        return []
    version = raw.get("peft_version")
    if not version and "use_cayley_neumann" not in raw:
        return ["neither use_cayley_neumann nor peft_version, so that the series is not known"]
    numbers = tuple(int(part) for part in str(version or "0").partition("@")[0].split(".")[:2] if part.isdigit())
    if numbers >= _CHANGED_IN:
        return []
    by = f"of PEFT {version}" if version else "without a peft_version, which PEFT writes since 0.18"
    return [f"use_cayley_neumann=True {by}: before 0.18 PEFT summed another series than now"]


def _scalings(config: "AdapterConfig", modules: Sequence[str]) -> Mapping[str, object]:  # noqa: ARG001
    """What else than the entries decides the rotations."""
    names = ("coft", "eps", "block_share", "use_cayley_neumann", "num_cayley_neumann_terms")
    return {name: config.raw.get(name) for name in names}


OFT = Kind(
    "OFT",
    read_oft,
    frozenset(
        {
            "bias",
            "block_share",
            "coft",
            "eps",
            "fan_in_fan_out",
            "init_weights",
            "module_dropout",
            "num_cayley_neumann_terms",
            "oft_block_size",
            "r",
            "use_cayley_neumann",
        }
    ),
    fits={
        "bias": is_bias,
        "block_share": is_flag,
        "coft": is_flag,
        "eps": is_number,
        "num_cayley_neumann_terms": lambda value: isinstance(value, int) and not isinstance(value, bool) and value > 0,
        "use_cayley_neumann": is_flag,
    },
    refused=_old_rotations,
    scalings=_scalings,
    remedy=_AGAIN,
)
