"""DeLoRA: low-rank updates of bounded length."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from modeconn.adapters.kinds.factored import Factored
from modeconn.adapters.kinds.kind import Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.per_module import misfit, read_per_module
from modeconn.adapters.kinds.values import is_bias, is_pattern, is_rank
from modeconn.adapters.part import LowRank

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

_TENSORS = ("delora_A", "delora_B", "delora_lambda", "delora_w_norm")
_SHORTEST = 1e-4  # PEFT's, so that a zero vector has a direction


@dataclass(frozen=True, eq=False)
class Bounded(Factored):
    """A sum of r directions of length 1, times a length.

    DeLoRA (Bini 2025, arXiv 2503.18225), as PEFT has it: `dW = (l / r) sum_i (b_i a_i^T) / (|b_i| |a_i|) diag(n)` with
    n the lengths of the columns of the base's weight when the training began.

    Attributes:
        up: B, `[out, r]`.
        down: A, `[r, in]`.
        length: l, `[1]`.
        norms: n, `[in]`.
    """

    up: torch.Tensor
    down: torch.Tensor
    length: torch.Tensor
    norms: torch.Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """`[out, in]`."""
        return self.up.shape[0], self.down.shape[1]

    @property
    def is_zero(self) -> bool:
        """Whether a factor, the length or all norms are zero."""
        return not all(value.any() for value in (self.up, self.down, self.length, self.norms))

    def pair(self) -> LowRank:
        """`B diag(l / (r |b| |a|))` and `A diag(n)`."""
        up, down = self.up.double(), self.down.double()
        lengths = up.norm(dim=0).clamp(min=_SHORTEST) * down.norm(dim=1).clamp(min=_SHORTEST)  # [r]
        return LowRank(up * (self.length.double() / len(down) / lengths), down * self.norms.double(), 1.0)


def read_delora(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort a DeLoRA file's tensors; every one is used.

    Raises:
        AdapterError: If a tensor is missing, left over, or of a shape or rank that does not fit.
    """

    def part(unread: Unread, module: str) -> Bounded:
        found = {name: unread.take(module, f".{name}") for name in _TENSORS}
        down, up, length, norms = found.values()
        rank = config.rank(module)
        fits = down.ndim == up.ndim == 2 and down.shape[0] == up.shape[1] == rank
        if not fits or tuple(length.shape) != (1,) or tuple(norms.shape) != (down.shape[1],):
            expected = f"delora_A [r, in], delora_B [out, r], delora_lambda [1], delora_w_norm [in] with r = {rank}"
            raise misfit(config, module, expected, found)
        return Bounded(up, down, length, norms)

    expected = "delora_A, delora_B, delora_lambda and delora_w_norm of each module"
    return read_per_module(Unread(tensors, config), (".delora_A",), part, expected)


DELORA = Kind(
    "DELORA",
    read_delora,
    frozenset({"bias", "delora_lambda", "init_weights", "lambda_pattern", "module_dropout", "r", "rank_pattern"}),
    fits={"bias": is_bias, "r": is_rank, "rank_pattern": lambda value: is_pattern(value, is_rank)},
)
