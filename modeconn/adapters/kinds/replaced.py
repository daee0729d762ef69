"""What was trained beside an adapter: biases and rows of embeddings that replace the base's, biases that are added."""

from dataclasses import dataclass, replace

import torch

from modeconn.adapters.kinds.of_base import OfParameter
from modeconn.adapters.part import ANY, BaseWeights, Part
from modeconn.adapters.update import needs_base


@dataclass(frozen=True, eq=False)
class Substitute(OfParameter):
    """A parameter that takes the place of the base's, `dw = w_1 - w_0`: one of LN tuning.

    Attributes:
        value: w_1, float32, as the model stores the parameter.
    """

    value: torch.Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the value."""
        return tuple(self.value.shape)

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """`w_1 - w_0`."""
        if base is None:
            raise needs_base("a parameter that was trained whole")
        return self.value.to(base.device, base.dtype) - base


@dataclass(frozen=True, eq=False)
class Replaced(Substitute):
    """A bias that was trained, `[n]`: a LoRA file can hold it as it is."""


@dataclass(frozen=True, eq=False)
class ReplacedRows(OfParameter):
    """Rows of an embedding, or of an output layer, that take the place of the base's: PEFT's trainable tokens.

    Attributes:
        rows: The new rows, `[n, dim]`, float32.
        tokens: Which rows of the table they are, n numbers.
        vocabulary: How many rows the table has.
        alone: Whether its adapter trained tokens of no other layer than this, and of those that are tied to it.
    """

    rows: torch.Tensor
    tokens: tuple[int, ...]
    vocabulary: int = ANY
    alone: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        """`[vocabulary, dim]`, the first of which only the base knows."""
        return self.vocabulary, self.rows.shape[1]

    def within(self, base: BaseWeights, parameter: str) -> Part:
        """The same rows of a table of the base's size."""
        if self.vocabulary != ANY or not base.has(parameter):
            return self
        return replace(self, vocabulary=base.weight(parameter).shape[0])

    @property
    def rounds(self) -> bool:
        """True: the rows of a table are looked up, not computed."""
        return True

    @property
    def moves_ties(self) -> bool:
        """True where it is alone: PEFT changes the rows of tied layers together, unless they have tokens each."""
        return self.alone

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """`E_1 - E_0` in the trained rows, 0 in all others."""
        if base is None:
            raise needs_base("trained tokens")
        change = torch.zeros_like(base)
        chosen = torch.tensor(self.tokens, device=base.device)
        change[chosen] = self.rows.to(base.device, base.dtype) - base[chosen]
        return change


@dataclass(frozen=True, eq=False)
class AddedBias(Part):
    """A bias that is added to a module's output, whether or not the base has one: LoRA's `s b` beside `s B A`.

    Attributes:
        value: b, `[out]`, float32.
        scaling: The factor s.
    """

    value: torch.Tensor
    scaling: float

    @property
    def shape(self) -> tuple[int, ...]:
        """`[out]`."""
        return tuple(self.value.shape)

    @property
    def stored(self) -> bool:
        """True: a vector has one orientation."""
        return True

    @property
    def makes_parameter(self) -> bool:
        """True: a bias that the base has not got counts as 0."""
        return True

    @property
    def is_zero(self) -> bool:
        """Whether every number is 0."""
        return not self.value.any()

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """`s b`."""
        return self.scaling * (self.value if base is None else self.value.to(base.device, base.dtype))
