"""Low-rank updates with diagonal matrices between their factors: AdaLoRA and VeRA."""

from dataclasses import dataclass

import torch

from modeconn.adapters.kinds.factored import Factored
from modeconn.adapters.part import LowRank


@dataclass(frozen=True, eq=False)
class Diagonal(Factored):
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

    def pair(self) -> LowRank:
        """`diag(b) up` and `diag(d) down`."""
        up = self.up.double() if self.rows is None else self.rows.double()[:, None] * self.up.double()
        return LowRank(up, self.middle.double()[:, None] * self.down.double(), self.scaling)
