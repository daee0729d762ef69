"""VB-LoRA: low-rank factors made of vectors from one bank."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from modeconn.adapters.kinds.factored import Factored
from modeconn.adapters.kinds.kind import Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.per_module import misfit, read_per_module
from modeconn.adapters.kinds.values import is_bias, is_flag, is_rank
from modeconn.adapters.part import LowRank
from modeconn.errors import AdapterError

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

_BANK = "base_model.vblora_vector_bank"
_DOWN, _UP = ".vblora_logits_A", ".vblora_logits_B"
_PLACES, _WEIGHTS = "_topk_indices", "_topk_weights"


@dataclass(frozen=True, eq=False)
class FromBank(Factored):
    """Factors whose pieces are mixtures of a few vectors of a bank.

    VB-LoRA (Li 2024, arXiv 2405.15179): each piece of length b is the mean of the k vectors with the largest logits,
    weighted by the softmax of these; `dW = B A`.

    Attributes:
        bank: The vectors, `[h, b]`.
        down: Logits of A, `[r, in / b, h]`.
        up: Logits of B, `[out / b, r, h]`.
        count: k.
    """

    bank: torch.Tensor
    down: torch.Tensor
    up: torch.Tensor
    count: int

    @property
    def shape(self) -> tuple[int, ...]:
        """`[out, in]`."""
        return len(self.up) * self.bank.shape[1], self.down.shape[1] * self.bank.shape[1]

    @property
    def is_zero(self) -> bool:
        """Whether all vectors are zero."""
        return not self.bank.any()

    def pair(self) -> LowRank:
        """The factors."""
        down = self._mixed(self.down).flatten(1)  # [r, in / b, b] -> [r, in]
        up = self._mixed(self.up).transpose(1, 2).flatten(0, 1)  # [out / b, r, b] -> [out, r]
        return LowRank(up.contiguous(), down, 1.0)

    def _mixed(self, logits: torch.Tensor) -> torch.Tensor:
        """The pieces, `[n, m, h] -> [n, m, b]`."""
        largest, places = logits.double().topk(self.count, dim=-1)
        return (largest.softmax(dim=-1)[..., None] * self.bank.double()[places]).sum(dim=-2)


def read_vblora(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort a VB-LoRA file's tensors; every one is used.

    Raises:
        AdapterError: If a tensor is missing, left over, or of a shape or rank that does not fit.
    """
    raw = config.raw
    rank, count = raw.get("r", 4), raw.get("topk", 2)
    unread = Unread(tensors, config)
    bank = _take_bank(unread)

    def part(unread: Unread, module: str) -> FromBank:
        found = {name[1:]: _logits(unread, module, name, len(bank), count) for name in (_DOWN, _UP)}
        down, up = found.values()
        fits = down.ndim == up.ndim == 3 and down.shape[0] == up.shape[1] == rank
        if not fits or not down.shape[2] == up.shape[2] == len(bank):
            expected = f"logits_A [r, in / b, h] and logits_B [out / b, r, h] with r = {rank} and h = {len(bank)}"
            raise misfit(config, module, expected, found, most=3)
        return FromBank(bank, down, up, count)

    ending = _PLACES if raw.get("save_only_topk_weights") else ""
    return read_per_module(unread, (_DOWN + ending,), part, "vblora_logits_A and _B of each module, and the bank")


def _take_bank(unread: Unread) -> torch.Tensor:
    """The vectors, which lie beside the model and not in it."""
    bank = unread.rest.pop(_BANK, None)
    count = unread.config.raw.get("topk", 2)
    if bank is None or bank.ndim != 2 or len(bank) < count:
        raise AdapterError(
            f"{unread.config.origin} lacks the vectors that its factors are made of",
            expected=f"{_BANK} [h, b] with h at least {count}, the topk of adapter_config.json",
            got="no such tensor" if bank is None else f"one of shape {list(bank.shape)}",
            remedy="use the adapter_config.json that was saved with these weights",
        )
    return bank


def _logits(unread: Unread, module: str, name: str, vectors: int, count: int) -> torch.Tensor:
    """Logits, `[n, m, h]`; made of places and weights where only these were saved, as PEFT makes them."""
    config = unread.config
    if not config.raw.get("save_only_topk_weights"):
        return unread.take(module, name)
    found = {ending: unread.take(module, name + ending) for ending in (_PLACES, _WEIGHTS)}
    places, weights = found.values()
    fits = places.ndim == weights.ndim == 3 and tuple(weights.shape) == (*places.shape[:2], count - 1)
    if not fits or places.shape[2] != count or int(places.max()) >= vectors or int(places.min()) < 0:
        expected = f"{_PLACES[1:]} [n, m, k] below {vectors} and {_WEIGHTS[1:]} [n, m, k - 1] with k = {count}"
        raise misfit(config, module, expected, {name[1:] + ending: value for ending, value in found.items()}, most=3)
    last = 1 - weights.sum(dim=-1, keepdim=True)
    logits = torch.full((*places.shape[:2], vectors), -torch.inf)
    return logits.scatter(-1, places.long(), torch.cat([weights, last], dim=-1).log())


def _scalings(config: "AdapterConfig", modules: Sequence[str]) -> Mapping[str, object]:  # noqa: ARG001
    """What else than the tensors decides the update."""
    return {"topk": config.raw.get("topk", 2)}


VBLORA = Kind(
    "VBLORA",
    read_vblora,
    frozenset(
        {
            "bias",
            "fan_in_fan_out",
            "init_logits_std",
            "init_vector_bank_bound",
            "num_vectors",
            "r",
            "save_only_topk_weights",
            "topk",
            "vblora_dropout",
            "vector_length",
        }
    ),
    fits={"bias": is_bias, "r": is_rank, "save_only_topk_weights": is_flag, "topk": is_rank},
    scalings=_scalings,
    constants=(_PLACES,),
)
