"""HRA: inputs that are reflected, one hyperplane after the other, as a change of the weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from modeconn.adapters.kinds.kind import Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.of_base import OfBase
from modeconn.adapters.kinds.per_module import misfit, read_per_module
from modeconn.adapters.kinds.values import is_bias, is_flag, is_rank
from modeconn.adapters.part import ANY, LowRank
from modeconn.adapters.update import needs_base

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig


@dataclass(frozen=True, eq=False)
class Reflections(OfBase):
    """A product of reflections of the inputs.

    HRA (Yuan 2024, arXiv 2405.17484): `dW = W (H_1 ... H_r - I)` with `H_i = I - 2 u_i u_i^T`, of rank r at most.

    Attributes:
        vectors: The u before they are brought to length 1, `[in, r]`.
        orthogonal: Whether they are first made orthogonal, one after the other.
    """

    vectors: torch.Tensor
    orthogonal: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """`[out, in]`, the first of which only the base knows."""
        return ANY, len(self.vectors)

    @property
    def is_zero(self) -> bool:
        """Whether each reflection is undone by the next, as they are before the first training step."""
        first, second = self.vectors[:, ::2], self.vectors[:, 1::2]
        return not self.orthogonal and torch.equal(first, second)

    def on(self, base: torch.Tensor) -> LowRank:
        """The factors `[out, r]` and `[r, in]`: each reflection adds a column to the first and a row to the second."""
        vectors = self._unit(base.dtype).to(base.device)
        columns = base.new_zeros(len(base), 0)
        for place in range(vectors.shape[1]):
            vector = vectors[:, place]
            reflected = base @ vector + columns @ (vectors[:, :place].T @ vector)
            columns = torch.cat([columns, -2 * reflected[:, None]], dim=1)
        return LowRank(columns, vectors.T.contiguous(), 1.0)

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """`W (H_1 ... H_r - I)`."""
        if base is None:
            raise needs_base("HRA")
        return self.on(base).delta(base)

    def _unit(self, dtype: torch.dtype) -> torch.Tensor:
        """The u, of length 1, `[in, r]`."""
        vectors = self.vectors.to(dtype)
        if not self.orthogonal:
            return vectors / vectors.norm(dim=0)
        found: list[torch.Tensor] = []
        for vector in vectors.T:
            for other in found:
                vector = vector - (other @ vector) * other
            found.append(vector / vector.norm())
        return torch.stack(found, dim=1)


def read_hra(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort an HRA file's tensors; every one is used.

    Raises:
        AdapterError: If a tensor is left over, or of a shape or rank that does not fit.
    """
    rank = config.raw.get("r", 8)

    def part(unread: Unread, module: str) -> Reflections:
        vectors = unread.take(module, ".hra_u")
        if vectors.ndim != 2 or vectors.shape[1] != rank or not vectors.any(dim=0).all():
            raise misfit(config, module, f"hra_u [in, r] with r = {rank}, no column of zeros", {"hra_u": vectors})
        return Reflections(vectors, bool(config.raw.get("apply_GS")))

    return read_per_module(Unread(tensors, config), (".hra_u",), part, "an hra_u of each module")


def _scalings(config: "AdapterConfig", modules: Sequence[str]) -> Mapping[str, object]:  # noqa: ARG001
    """What else than the vectors decides the update."""
    return {"apply_GS": bool(config.raw.get("apply_GS"))}


HRA = Kind(
    "HRA",
    read_hra,
    frozenset({"apply_GS", "bias", "init_weights", "r"}),
    fits={"apply_GS": is_flag, "bias": is_bias, "r": is_rank},
    scalings=_scalings,
)
