"""LN tuning: norms, or other modules, whose parameters take the place of the base's."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from modeconn.adapters.kinds.kind import PREFIX, Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.per_module import finished
from modeconn.adapters.part import Part
from modeconn.adapters.update import Update, needs_base

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

_MARK = ".ln_tuning_layers."


@dataclass(frozen=True, eq=False)
class Tuned(Part):
    """A parameter that takes the place of the base's, `dw = w_1 - w_0`.

    Attributes:
        value: w_1, float32, as the model stores the parameter.
    """

    value: torch.Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the value."""
        return tuple(self.value.shape)

    @property
    def stored(self) -> bool:
        """True: PEFT saves a copy of the base's module."""
        return True

    @property
    def needs_base(self) -> bool:
        """True: the change is a difference from the base."""
        return True

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """`w_1 - w_0`."""
        if base is None:
            raise needs_base("LN tuning")
        return self.value.to(base.device, base.dtype) - base


def read_layernorm(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort the tensors of LN tuning (Zhao 2023, arXiv 2312.11420); every one is used.

    Raises:
        AdapterError: If a tensor is left over.
    """
    unread = Unread(tensors, config)
    names = sorted(name for name in tensors if name.startswith(PREFIX) and _MARK in name)
    updates = {name.removeprefix(PREFIX).replace(_MARK, "."): Update.of(Tuned(unread.rest.pop(name))) for name in names}
    return finished(unread, updates, "ln_tuning_layers")


LN_TUNING = Kind("LN_TUNING", read_layernorm, frozenset())
