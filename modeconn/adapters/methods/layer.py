"""Linear modules of a base model with adapters beside them, as PEFT's tuners expect them."""

from abc import abstractmethod
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import nn
from torch.nn import functional
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from transformers.pytorch_utils import Conv1D

from modeconn.errors import AdapterError

_READABLE = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def check_adaptable(name: str, module: nn.Module, *, reads_weight: bool) -> None:
    """Raise unless a module is a linear map that can get an adapter.

    Args:
        name: The module's name, for the message.
        module: The module.
        reads_weight: Whether the method computes with the module's weight, so that it must not be quantised.

    Raises:
        AdapterError: If it is of another type, or its weight is quantised but needed.
    """
    # PyTorch's attention uses the weight of its output projection without calling the module: nothing would happen.
    if not isinstance(module, nn.Linear | Conv1D) or isinstance(module, NonDynamicallyQuantizableLinear):
        raise AdapterError(
            f"the module {name} cannot get this adapter",
            expected="torch.nn.Linear or transformers' Conv1D",
            got=f"{type(module).__module__}.{type(module).__name__}",
            remedy="choose other target_modules",
        )
    if reads_weight:
        check_readable(name, module)


def check_readable(name: str, module: nn.Module) -> None:
    """Raise unless a module's weight is stored as plain floating-point numbers.

    Raises:
        AdapterError: If it is quantised.
    """
    linear: Any = module
    dtype, kind = linear.weight.dtype, type(linear.weight)
    packed = kind.__module__.startswith("torchao.")  # shows the dtype that it is computed in
    if dtype not in _READABLE or packed:
        raise AdapterError(
            f"the weight of {name} cannot be computed with",
            expected=f"one of {', '.join(str(one).removeprefix('torch.') for one in _READABLE)}",
            got=f"{kind.__name__ if packed else str(dtype).removeprefix('torch.')} in {type(module).__name__}",
            remedy="load the base model without quantisation",
        )


def widths_of(module: nn.Module) -> tuple[int, int]:
    """The input and the output width of a linear module, also of one whose quantised weight has another shape."""
    linear: Any = module
    if isinstance(module, Conv1D):
        return linear.weight.shape[0], linear.weight.shape[1]
    return linear.in_features, linear.out_features


class AdaptedLinear(nn.Module, BaseTunerLayer):
    """A linear module with adapters of one method beside it.

    Attributes:
        base_layer: The base model's module.
        name: Its name in the base model, for messages.
        in_features: Its input width.
        out_features: Its output width.
        scaling: Adapter -> the factor s; its keys are the adapters that this module has.
    """

    other_param_names: tuple[str, ...] = ("scaling",)

    def __init__(self, base_layer: nn.Module, name: str) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.name = name
        self.in_features, self.out_features = widths_of(base_layer)
        self.scaling: dict[str, float] = {}
        self.merged_adapters: list[str] = []
        self._disable_adapters = False
        self.cast_input_dtype_enabled = True

    @abstractmethod
    def make_parameters(self, adapter: str, config: Any) -> None:  # noqa: ANN401  (the settings of the method)
        """Set up one adapter's parameters and its scaling."""

    def add(self, adapter: str, config: Any) -> None:  # noqa: ANN401
        """Give the module one more adapter, on the module's device and of its dtype.

        Args:
            adapter: The adapter's name.
            config: The settings of the method.
        """
        self.make_parameters(adapter, config)
        self._move_adapter_to_device_of_base_layer(adapter)

    def _get_available_adapters(self) -> set[str]:
        """The adapters of this module, also those whose parameters another module holds."""
        return set(self.scaling)

    def _active(self) -> list[str]:
        """The active adapters that this module has."""
        return [adapter for adapter in self.active_adapters if adapter in self.scaling]


class UpdatedLinear(AdaptedLinear):
    """A linear module whose adapters add `dW = s up down` to its weight.

    Attributes:
        dropout: Adapter -> the share of its input that is dropped, in training only.
        merged_factors: Merged adapter -> the factors that were added to the weight, to take off the same again.
    """

    other_param_names = (*AdaptedLinear.other_param_names, "dropout", "merged_factors")

    def __init__(self, base_layer: nn.Module, name: str) -> None:
        super().__init__(base_layer, name)
        self.dropout: dict[str, float] = {}
        self.merged_factors: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def add(self, adapter: str, config: Any) -> None:  # noqa: ANN401
        """Give the module one more adapter, with `s = alpha / r`."""
        self.scaling[adapter] = config.alpha / config.r
        self.dropout[adapter] = config.dropout
        super().add(adapter, config)

    @abstractmethod
    def factors(self, adapter: str) -> tuple[torch.Tensor, torch.Tensor]:
        """`up [out, r]` and `down [r, in]` of an adapter's update without its scaling."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ANN401
        """`W x + b + sum over the active adapters of s up (down x)`; dW is never formed.

        Args:
            x: `[..., in]`.
            *args: What else the base model's module takes.
            **kwargs: What else the base model's module takes.
        """
        if self.disable_adapters and self.merged:
            self.unmerge()
        result = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters or self.merged:
            return result
        dtype = result.dtype
        for adapter in self._active():
            up, down = self.factors(adapter)
            features = functional.dropout(self._cast_input_dtype(x, down.dtype), self.dropout[adapter], self.training)
            result = result + self.scaling[adapter] * functional.linear(functional.linear(features, down), up)
        return result.to(dtype)

    def get_delta_weight(self, adapter: str) -> torch.Tensor:
        """`dW` of an adapter, dense, in the orientation in which the base model stores the weight."""
        up, down = self.factors(adapter)
        return self._stored(self.scaling[adapter] * (up @ down))

    def original_weight(self) -> torch.Tensor:
        """The base model's weight without the merged adapters, `[out, in]`."""
        base: Any = self.get_base_layer()
        weight = self._stored(base.weight)
        for adapter, (up, down) in self.merged_factors.items():
            weight = (weight - self.scaling[adapter] * (up @ down)).to(weight.dtype)
        return weight

    @torch.no_grad()
    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add the updates of adapters to the base model's weight.

        Args:
            safe_merge: Whether to refuse updates with NaN or infinity.
            adapter_names: Which adapters; all active ones by default.

        Raises:
            AdapterError: If the weight is quantised, or an update is not finite and `safe_merge` is set.
        """
        names = [name for name in check_adapters_to_merge(self, adapter_names) if name in self.scaling]
        base: Any = self.get_base_layer()
        check_readable(self.name, base)
        pairs = {name: self.factors(name) for name in names}  # all of the original weight, before it changes
        weight = base.weight
        for name, (up, down) in pairs.items():
            weight = weight + self._stored(self.scaling[name] * (up @ down))
        if safe_merge and not weight.isfinite().all():
            raise AdapterError(
                f"cannot merge {', '.join(names)} into {self.name}",
                expected="finite weights",
                got="NaN or infinity",
                remedy="check the adapter: its training may have diverged",
            )
        base.weight.data = weight.to(base.weight.dtype)
        self.merged_factors.update(pairs)
        self.merged_adapters.extend(names)

    @torch.no_grad()
    def unmerge(self) -> None:
        """Take the merged updates off the base model's weight; nothing happens where none is merged."""
        if not self.merged:
            return
        base: Any = self.get_base_layer()
        base.weight.data = self._stored(self.original_weight()).clone()
        self.merged_factors.clear()
        self.merged_adapters.clear()

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:  # noqa: ARG002  (PEFT's signature)
        """True: the adapter adds a dW to the weight."""
        return True

    def _stored(self, weight: torch.Tensor) -> torch.Tensor:
        """From `[out, in]` to the orientation of the base model's module, or back."""
        return weight.T if isinstance(self.get_base_layer(), Conv1D) else weight
