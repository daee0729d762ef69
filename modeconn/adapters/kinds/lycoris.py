"""LoHa and LoKr: products of low-rank matrices, entry by entry or by Kronecker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from modeconn.adapters.kinds.kind import Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.per_module import misfit, read_per_module
from modeconn.adapters.kinds.values import is_number, is_pattern, is_rank
from modeconn.adapters.part import Dense, LowRank, Part
from modeconn.errors import listed

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

    expected = f"{listed(_HADA)} of each module{_EFFECTIVE}"
    return read_per_module(Unread(tensors, config), (".hada_w1_a",), part, expected)


def read_lokr(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort a LoKr file's tensors; every one is used.

    Raises:
        AdapterError: If a tensor is missing, left over, or of a shape or rank that does not fit.
    """

    def part(unread: Unread, module: str) -> Kronecker:
        left, right = (_side(unread, module, f"lokr_w{number}") for number in (1, 2))
        return Kronecker(left, right, _scaling(config, module))

    expected = "lokr_w1 and lokr_w2 of each module, whole or as pairs" + _EFFECTIVE
    return read_per_module(Unread(tensors, config), (".lokr_w1", ".lokr_w1_a"), part, expected)


def _side(unread: Unread, module: str, name: str) -> Part:
    """One of the two matrices of a Kronecker product; if it comes in both forms, the pair is left over and named."""
    config = unread.config
    if not unread.has(module, f".{name}_a"):
        whole = unread.take(module, f".{name}")
        if whole.ndim != 2:
            raise misfit(config, module, f"a matrix {name}", {name: whole})
        return Dense(whole)
    pair = {f"{name}_{half}": unread.take(module, f".{name}_{half}") for half in "ab"}
    up, down = pair.values()
    rank = config.rank(module)
    if up.ndim != 2 or down.ndim != 2 or not up.shape[1] == down.shape[0] == rank:
        raise misfit(config, module, f"{name}_a [n, r] and {name}_b [r, m] with r = {rank}", pair)
    return LowRank(up, down, 1.0)


def _scaling(config: "AdapterConfig", module: str) -> float:
    """The factor s, `alpha / r`."""
    return config.by_pattern("alpha_pattern", module, config.raw.get("alpha", 8)) / config.rank(module)


def _scalings(config: "AdapterConfig", modules: Sequence[str]) -> Mapping[str, object]:
    """The factor s of each module."""
    return {module: _scaling(config, module) for module in modules}


# How the sizes were chosen, and what training did: the tensors tell the rest.
_SETTINGS = frozenset(
    {
        "alpha",
        "alpha_pattern",
        "init_weights",
        "module_dropout",
        "r",
        "rank_dropout",
        "rank_pattern",
        "use_effective_conv2d",
    }
)
_FITS = {
    "r": is_rank,
    "alpha": is_number,
    "rank_pattern": lambda value: is_pattern(value, is_rank),
    "alpha_pattern": lambda value: is_pattern(value, is_number),
}

LOHA = Kind("LOHA", read_loha, _SETTINGS, fits=_FITS, scalings=_scalings)
LOKR = Kind(
    "LOKR",
    read_lokr,
    _SETTINGS | {"decompose_both", "decompose_factor", "rank_dropout_scale"},
    fits=_FITS,
    scalings=_scalings,
)
