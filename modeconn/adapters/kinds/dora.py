"""DoRA: the lengths of a weight's rows, and its direction, as a change of the weight."""

from dataclasses import dataclass, replace

import torch

from modeconn.adapters.kinds.of_base import OfBase
from modeconn.adapters.part import BaseWeights, Part
from modeconn.adapters.update import needs_base


@dataclass(frozen=True, eq=False)
class Dora(OfBase):
    """A weight whose direction has a low-rank update and whose lengths are trained.

    DoRA (Liu 2024, arXiv 2402.09353): `dW = m V / |V| - W` with `V = W + s B A`. The lengths are those of the rows of
    `[out, in]`, as in PEFT (the columns of a matrix written for row vectors); of an embedding table, of its columns.

    Attributes:
        direction: `s B A`.
        lengths: m, `[out]`, or `[dim]` for a table.
        lookup: Whether the weight is an embedding table.
    """

    direction: Part
    lengths: torch.Tensor
    lookup: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the direction."""
        return self.direction.shape

    @property
    def stored(self) -> bool:
        """As the direction."""
        return self.direction.stored

    @property
    def is_zero(self) -> bool:
        """Whether the direction has not moved: before the first step lora_B is 0 and the lengths are the base's."""
        return self.direction.is_zero

    def within(self, base: BaseWeights, parameter: str) -> Part:
        """The same part with a direction that knows the base."""
        direction = self.direction.within(base, parameter)
        return self if direction is self.direction else replace(self, direction=direction)

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """`m V / |V| - W`."""
        if base is None:
            raise needs_base("DoRA")
        moved = base + self.direction.delta(base)
        over = (0,) if self.lookup else tuple(range(1, moved.ndim))  # what a length is taken over
        present = torch.linalg.vector_norm(moved, dim=over, keepdim=True)
        wanted = self.lengths.to(base.device, base.dtype).reshape(present.shape)
        return (wanted / present) * moved - base
