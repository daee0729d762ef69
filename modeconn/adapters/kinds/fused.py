"""LoRA of parameters that no module of their own holds: the stacked weights of experts (PEFT's target_parameters)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from modeconn.adapters.part import Part
from modeconn.errors import AdapterError, listed

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

WRAPPED = ".base_layer"
# A file says of which module a pair of factors is, not of which of its parameters: PEFT wraps them one around
# another, the module's first parameter innermost. This is their order in the modules of transformers.
ORDER = ("gate_up_proj", "gate_up_proj_bias", "up_proj", "down_proj", "down_proj_bias")


@dataclass(frozen=True, eq=False)
class Fused(Part):
    """The change of a parameter, for each of E experts `dW_e = s B_e A_e`.

    Attributes:
        up: `[E, out, r]`, float32; `[out, r]` of a matrix without experts.
        down: `[E, r, in]` or `[r, in]`.
        scaling: The factor s.
    """

    up: torch.Tensor
    down: torch.Tensor
    scaling: float

    @classmethod
    def of_file(cls, down: torch.Tensor, up: torch.Tensor, rank: int, scaling: float) -> "Fused":
        """A pair as PEFT stores it: the experts' A below each other, their B taken apart and put rank by rank.

        Args:
            down: `[E r, in]`, expert by expert.
            up: `[out, r E]`: all experts' first columns, then their second ones.
            rank: r of one expert.
            scaling: The factor s.
        """
        experts = down.shape[0] // rank
        if experts == 1:
            return cls(up, down, scaling)
        stacked = up.reshape(up.shape[0], rank, experts).permute(2, 0, 1)  # [out, r, E] -> [E, out, r]
        return cls(stacked.contiguous(), down.reshape(experts, rank, -1), scaling)

    def of_peft(self) -> tuple[torch.Tensor, torch.Tensor]:
        """`down` and `up` as PEFT stores them (see `of_file`)."""
        if self.up.ndim == 2:
            return self.down, self.up
        return self.down.flatten(0, 1), self.up.permute(1, 2, 0).flatten(1)  # [E r, in], [out, r E]

    @classmethod
    def combined(cls, coefficients: Sequence[float], parts: "Iterable[Fused]", *, unit: float) -> "Fused":
        """One part for a sum of parts of one parameter, by concatenation; its scaling is `unit`."""
        pairs = list(zip(coefficients, parts, strict=True))
        down = [part.down * (weight * part.scaling / unit) for weight, part in pairs]
        return cls(torch.cat([part.up for _, part in pairs], dim=-1), torch.cat(down, dim=-2), unit)

    @property
    def rank(self) -> int:
        """The rank of one expert's update."""
        return self.down.shape[-2]

    @property
    def shape(self) -> tuple[int, ...]:
        """`[E, out, in]`, or `[rows, columns]` of a matrix."""
        return *self.up.shape[:-1], self.down.shape[-1]

    @property
    def stored(self) -> bool:
        """True for a matrix; experts may be stored as `[E, in, out]`."""
        return self.up.ndim == 2

    @property
    def rounds(self) -> bool:
        """True: a parameter without a module has no place for a branch."""
        return True

    @property
    def is_zero(self) -> bool:
        """Whether one of the factors is zero."""
        return not (self.up.any() and self.down.any())

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """`s B_e A_e`, expert by expert."""
        up, down = (value if base is None else value.to(base.device, base.dtype) for value in (self.up, self.down))
        return self.scaling * (up @ down)


def fused_parameters(modules: Sequence[str], config: "AdapterConfig") -> dict[str, str]:
    """Which parameters the pairs of factors of a file belong to, where a config names parameters.

    Args:
        modules: The modules that have a pair, under their names in the file.
        config: The adapter's settings.

    Returns:
        A module's name in the file -> the parameter; modules that are none of `target_parameters` are left out.

    Raises:
        AdapterError: If a module has more or fewer pairs than parameters, or several in an order that is not known.
    """
    targets = tuple(config.raw.get("target_parameters") or ())
    found = {}
    for holder in sorted({module.replace(WRAPPED, "") for module in modules}):
        names = {target.rpartition(".")[2] for target in targets if _is_in(target, holder)}
        pairs = sorted((name for name in modules if name.replace(WRAPPED, "") == holder), key=len, reverse=True)
        if not names:
            continue
        if len(names) != len(pairs) or (len(names) > 1 and not names <= set(ORDER)):
            raise AdapterError(
                f"the factors of {holder} in {config.origin} cannot be given to its parameters",
                expected=f"a pair for each target parameter of the module, which are {listed(names)}"
                f" (where there are several, of {listed(ORDER)}, whose order is known)",
                got=f"{len(pairs)} pairs",
                remedy="use the adapter_config.json that was saved with these weights, or merge the adapter",
            )
        found |= {pair: f"{holder}.{name}" for pair, name in zip(pairs, _ordered(names), strict=True)}
    return found


def _is_in(target: str, holder: str) -> bool:
    """Whether a target parameter, as PEFT reads it, is one of a module."""
    parent = target.rpartition(".")[0]
    return not parent or holder == parent or holder.endswith(f".{parent}")


def wrapped(parameters: Iterable[str]) -> dict[str, str]:
    """Parameter -> the name of its pair in a file, the inverse of `fused_parameters`."""
    by_holder: dict[str, list[str]] = {}
    for parameter in parameters:
        by_holder.setdefault(parameter.rpartition(".")[0], []).append(parameter)
    return {
        parameter: holder + WRAPPED * depth
        for holder, found in by_holder.items()
        for depth, parameter in enumerate(reversed(_ordered(found)))
    }


def _ordered(names: Iterable[str]) -> list[str]:
    """Parameters of one module from the innermost to the outermost."""
    places = {name: number for number, name in enumerate(ORDER)}
    return sorted(names, key=lambda name: places.get(name.rpartition(".")[2], 0))
