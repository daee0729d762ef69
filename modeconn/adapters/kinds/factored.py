"""Parts whose low-rank factors are made of smaller tensors."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch

from modeconn.adapters.part import LowRank, Part


@dataclass(frozen=True, eq=False)
class Factored(Part):
    """A change that is one pair of low-rank factors, which are made when they are needed."""

    @abstractmethod
    def pair(self) -> LowRank:
        """The factors, in float64: their products are rounded once, to the dtype that is asked for."""

    @property
    def factored(self) -> LowRank:
        """The factors."""
        return self._pair

    @cached_property
    def _pair(self) -> LowRank:
        """Made once, for as long as the part lives."""
        return self.pair()

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """The product of the factors."""
        dense = self.factored.delta(base)
        return dense.float() if base is None else dense
