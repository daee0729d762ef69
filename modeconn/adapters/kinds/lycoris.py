"""LoHa and LoKr: products of low-rank matrices, entry by entry or by Kronecker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from modeconn.adapters.kinds.kind import Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.per_module import misfit, read_per_module
from modeconn.adapters.kinds.values import is_number, is_pattern, is_rank
from modeconn.adapters.part import Dense, LowRank, Part

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

_HADA = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
_EFFECTIVE = " (factors of convolutions, hada_t1 and lokr_t2, are not supported)"


@dataclass(frozen=True, eq=False)
class Hadamard(Part):
    """A product of two low-rank matrices, entry by entry.

    LoHa (Hyeon-Woo 2021, arXiv 2108.06098): `dW = s (A_1 B_1) * (A_2 B_2)`, of rank up to r^2.

    Attributes:
        first: `A_1 B_1`, `[out, in]`.
        second: `A_2 B_2`, `[out, in]`.
        scaling: The factor s, no unit.
    """

    first: LowRank
    second: LowRank
    scaling: float

    @property
    def shape(self) -> tuple[int, ...]:
        """`[out, in]`."""
        return self.first.shape

    @property
    def is_zero(self) -> bool:
        """Whether one of the four factors is zero."""
        return self.first.is_zero or self.second.is_zero

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """`s (A_1 B_1) * (A_2 B_2)`."""
        return self.scaling * (self.first.delta(base) * self.second.delta(base))


@dataclass(frozen=True, eq=False)
class Kronecker(Part):
    """A Kronecker product of two small matrices.

    LoKr (Yeh 2023, arXiv 2309.14859): `dW = s left (x) right`, each held whole or as a low-rank pair.

    Attributes:
        left: `[a, c]`.
        right: `[b, d]`, with `a b = out` and `c d = in`.
        scaling: The factor s, no unit.
    """

    left: Part
    right: Part
    scaling: float

    @property
    def shape(self) -> tuple[int, ...]:
        """`[out, in]`."""
        (a, c), (b, d) = self.left.shape, self.right.shape
        return a * b, c * d

    @property
    def is_zero(self) -> bool:
        """Whether one of the two matrices is zero."""
        return self.left.is_zero or self.right.is_zero

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """`s left (x) right`."""
        return self.scaling * torch.kron(self.left.delta(base), self.right.delta(base))


def read_loha(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort a LoHa file's tensors; every one is used.

    Raises:
        AdapterError: If a tensor is missing, left over, or of a shape or rank that does not fit.
    """

    def part(unread: Unread, module: str) -> Hadamard:
        found = {name: unread.take(module, f".{name}") for name in _HADA}
        rank = config.rank(module)
        w1_a, w1_b, w2_a, w2_b = found.values()
        ranks = {value.shape[axis] for value, axis in ((w1_a, -1), (w1_b, 0), (w2_a, -1), (w2_b, 0))}
        fits = all(value.ndim == 2 for value in found.values()) and ranks == {rank}
        if not fits or w1_a.shape != w2_a.shape or w1_b.shape != w2_b.shape:
            raise misfit(config, module, f"two pairs [out, r] and [r, in] with r = {rank}", found)
        # PEFT holds this factor as a float32 tensor, so that 3/7 is rounded in a float64 model as well.
        scaling = float(torch.tensor(_scaling(config, module)))
        return Hadamard(LowRank(w1_a, w1_b, 1.0), LowRank(w2_a, w2_b, 1.0), scaling)

    return read_per_module(Unread(tensors, config), ".hada_w1_a", part, "four tensors of LoHa a module" + _EFFECTIVE)


def read_lokr(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort a LoKr file's tensors; every one is used.

    Raises:
        AdapterError: If a tensor is missing, left over, or of a shape or rank that does not fit.
    """

    def part(unread: Unread, module: str) -> Kronecker:
        left, right = (_side(unread, module, f"lokr_w{number}", config) for number in (1, 2))
        return Kronecker(left, right, _scaling(config, module))

    unread = Unread(tensors, config)
    whole = [module for module in unread.modules(".lokr_w1") if unread.has(module, ".lokr_w1_a")]
    if whole:  # both forms of one side: PEFT would use one and never say which
        module = whole[0]
        both = {name: unread.take(module, f".{name}") for name in ("lokr_w1", "lokr_w1_a")}
        raise misfit(config, module, "lokr_w1, or lokr_w1_a and lokr_w1_b", both)
    parts = "lokr_w1 and lokr_w2 of each module, whole or as pairs" + _EFFECTIVE
    first = read_per_module  # the two forms of the left side name the modules
    return first(_with_marks(unread), _MARK, part, parts)


def _side(unread: Unread, module: str, name: str, config: "AdapterConfig") -> Part:
    """One of the two matrices of a Kronecker product."""
    raise NotImplementedError


def _scaling(config: "AdapterConfig", module: str) -> float:
    """The factor s, `alpha / r`."""
    return config.by_pattern("alpha_pattern", module, config.raw.get("alpha", 8)) / config.rank(module)
