"""(IA)^3: activations that are scaled, as a change of the weights."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from modeconn.adapters.kinds.kind import Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.of_base import OfBase, OfBias
from modeconn.adapters.kinds.per_module import finished, misfit
from modeconn.adapters.kinds.values import is_names_or_pattern
from modeconn.adapters.part import ANY
from modeconn.adapters.update import Update, needs_base

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig


@dataclass(frozen=True, eq=False)
class Scales(OfBase):
    """Numbers that a parameter is multiplied by, row by row or column by column.

    Attributes:
        scales: l.
    """

    scales: torch.Tensor

    @property
    def is_zero(self) -> bool:
        """Whether all scales are 1."""
        return bool((self.scales == 1).all())


@dataclass(frozen=True, eq=False)
class Scaled(Scales):
    """A matrix whose rows or columns are scaled.

    (IA)^3 (Liu 2022, arXiv 2205.05638): outputs `l * (W x + b)` or inputs `W (l * x)`, hence `dW = (l - 1) * W` along
    the rows or the columns.

    Attributes:
        scales: l, `[out]` or `[in]`.
        inputs: Whether the columns are scaled.
    """

    inputs: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """`[out, in]`, one of which only the base knows."""
        return (ANY, len(self.scales)) if self.inputs else (len(self.scales), ANY)

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """`(l - 1) * W`."""
        if base is None:
            raise needs_base("IA3")
        change = self.scales.to(base.device, base.dtype) - 1
        return base * (change if self.inputs else change[:, None])


@dataclass(frozen=True, eq=False)
class ScaledBias(OfBias, Scales):
    """The bias of a module whose outputs are scaled, where it has one: `db = (l - 1) * b`.

    Attributes:
        scales: l, `[out]`.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """`[out]`."""
        return tuple(self.scales.shape)

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """`(l - 1) * b`."""
        if base is None:
            raise needs_base("IA3")
        return base * (self.scales.to(base.device, base.dtype) - 1)


def read_ia3(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort an (IA)^3 file's tensors; every one is used.

    Raises:
        AdapterError: If a tensor is left over, or of a shape that does not fit the module's place in the config.
    """
    unread = Unread(tensors, config)
    updates = {}
    for module in unread.modules(".ia3_l"):
        scales = unread.take(module, ".ia3_l")
        inputs = _scales_inputs(config, module, scales)
        if scales.ndim != 2 or scales.shape[0 if inputs else 1] != 1:
            expected = "ia3_l [1, in], as the module is one of feedforward_modules" if inputs else "ia3_l [out, 1]"
            raise misfit(config, module, expected, {"ia3_l": scales})
        updates[f"{module}.weight"] = Update.of(Scaled(scales.reshape(-1), inputs))
        if not inputs:
            updates[f"{module}.bias"] = Update.of(ScaledBias(scales.reshape(-1)))
    return finished(unread, updates, "an ia3_l of each module")


def _scales_inputs(config: "AdapterConfig", module: str, scales: torch.Tensor) -> bool:
    """Whether a module's inputs are scaled: by the config, as PEFT reads it; by the tensor where it is silent."""
    named = config.raw.get("feedforward_modules")
    if named is None:
        return scales.shape[0] == 1
    if isinstance(named, str):
        return re.fullmatch(named, module) is not None
    return any(module.endswith(name) for name in named)


IA3 = Kind(
    "IA3",
    read_ia3,
    # The initialisation is over, and whether a weight lies transposed is seen in the model.
    frozenset({"fan_in_fan_out", "feedforward_modules", "init_ia3_weights"}),
    fits={"feedforward_modules": is_names_or_pattern},
)
