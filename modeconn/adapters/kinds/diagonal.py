"""Low-rank updates with diagonal matrices between their factors: AdaLoRA and VeRA."""

from dataclasses import dataclass
from functools import cached_property

import torch

from modeconn.adapters.part import LowRank, Part


@dataclass(frozen=True, eq=False)
class Diagonal(Part):
    """`dW = s diag(b) up diag(d) down`.

    Attributes:
        up: `[out, r]`.
        middle: d, `[r]`.
        down: `[r, in]`.
        rows: b, `[out]`; None stands for ones.
        scaling: The factor s, no unit.
    """

    up: torch.Tensor
    middle: torch.Tensor
    down: torch.Tensor
    rows: torch.Tensor | None = None
    scaling: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        """`[out, in]`."""
        return self.up.shape[0], self.down.shape[1]

    @property
    def is_zero(self) -> bool:
        """Whether one of the four matrices is zero."""
        found = (self.up, self.middle, self.down, self.up if self.rows is None else self.rows)
        return not all(value.any() for value in found)

    @property
    def factored(self) -> LowRank:
        """The pair of `diag(b) up` and `diag(d) down`."""
        return self._pair

    @cached_property
    def _pair(self) -> LowRank:
        """In float64: the products are rounded once, to the dtype that is asked for."""
        up = self.up.double() if self.rows is None else self.rows.double()[:, None] * self.up.double()
        return LowRank(up, self.middle.double()[:, None] * self.down.double(), self.scaling)

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """`s diag(b) up diag(d) down`."""
        dense = self.factored.delta(base)
        return dense.float() if base is None else dense
