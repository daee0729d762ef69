"""LoRETTA adp as a PEFT method: bottleneck adapters whose matrices are tensor-trains."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from peft import PeftType
from torch import nn
from torch.nn import functional

from modeconn.adapters.methods.layer import AdaptedLinear, widths_of
from modeconn.adapters.methods.loretta import LorettaConfig, new_train, note_shapes
from modeconn.adapters.methods.registration import register
from modeconn.adapters.methods.tensor_train import matrix
from modeconn.adapters.methods.tuner import MethodModel
from modeconn.errors import AdapterError

# Model type -> the last modules of attention and of the feed-forward part.
TARGETS: Mapping[str, list[str]] = MappingProxyType(
    {
        "bert": ["output.dense"],
        "gpt2": ["attn.c_proj", "mlp.c_proj"],
        "llama": ["o_proj", "down_proj"],
        "mistral": ["o_proj", "down_proj"],
        "qwen2": ["o_proj", "down_proj"],
        "qwen3": ["o_proj", "down_proj"],
        "roberta": ["output.dense"],
        "t5": ["o", "wo"],
    }
)


@dataclass
class LorettaAdpConfig(LorettaConfig):
    """Settings of LoRETTA adp (Yang 2024, arXiv 2402.11417).

    After the attention output and the feed-forward output `h <- h + scaling * Up(relu(Down(h)))`, where `Down` and
    `Up` are tensor-trains with dense biases. The adapter is not linear in h: there is no `dW`, nothing can be merged,
    and points can be joined in the adapter's own tensors only.

    Attributes:
        bottleneck: The width between `Down` and `Up`.
        scaling: The factor of the adapter's output.
        tensor_rank: See `LorettaConfig`.
        tensor_shapes: See `LorettaConfig`.
        start: See `LorettaConfig`; "zero" also starts the bias of `Up` at zero.

    Raises:
        AdapterError: If a setting cannot be used.
    """

    bottleneck: int = 64
    scaling: float = 1.0

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        self.peft_type = PeftType("LORETTA_ADP")

    def wrong_settings(self) -> dict[str, str]:
        """The settings that cannot be used -> what they have to be."""
        return super().wrong_settings() | self.unlike({"bottleneck": "rank", "scaling": "number"})


class LorettaAdpLinear(AdaptedLinear):
    """A linear module with LoRETTA adp adapters after it; b is the bottleneck.

    Attributes:
        loretta_adp_down: Adapter -> the cores of `Down^T [out, b]`.
        loretta_adp_up: Adapter -> the cores of `Up^T [b, out]`.
        loretta_adp_down_bias: Adapter -> `[b]`.
        loretta_adp_up_bias: Adapter -> `[out]`.
    """

    adapter_layer_names = ("loretta_adp_down", "loretta_adp_up", "loretta_adp_down_bias", "loretta_adp_up_bias")

    def __init__(self, base_layer: nn.Module, name: str) -> None:
        super().__init__(base_layer, name)
        self.loretta_adp_down = nn.ModuleDict()
        self.loretta_adp_up = nn.ModuleDict()
        self.loretta_adp_down_bias = nn.ParameterDict()
        self.loretta_adp_up_bias = nn.ParameterDict()

    def make_parameters(self, adapter: str, config: LorettaAdpConfig) -> None:
        """Make cores and biases, biases uniform within `1 / sqrt(their size)`."""
        self.scaling[adapter] = config.scaling
        down, up = (new_train(config, self.out_features, config.bottleneck) for _ in range(2))
        down_bias, up_bias = (
            torch.empty(size).uniform_(-(size**-0.5), size**-0.5) for size in (config.bottleneck, self.out_features)
        )
        if config.start == "zero":
            up[-1].zero_()
            up_bias.zero_()
        self.loretta_adp_down[adapter] = nn.ParameterList(down)
        self.loretta_adp_up[adapter] = nn.ParameterList(up)
        self.loretta_adp_down_bias[adapter] = nn.Parameter(down_bias)
        self.loretta_adp_up_bias[adapter] = nn.Parameter(up_bias)

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ANN401
        """`h + sum over the active adapters of s Up(relu(Down(h)))` with `h = W x + b`.

        Args:
            x: `[..., in]`.
            *args: What else the base model's module takes.
            **kwargs: What else the base model's module takes.
        """
        hidden = result = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters:
            return hidden
        for adapter in self._active():
            result = result + self.scaling[adapter] * self._bottleneck(adapter, hidden)
        return result.to(hidden.dtype)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:  # noqa: ARG002
        """Not possible.

        Raises:
            AdapterError: Always.
        """
        raise AdapterError(
            "a LoRETTA adp adapter cannot be merged",
            expected="an adapter that adds a dW to a weight",
            got=f"a bottleneck with a relu after {self.name}",
            remedy="keep it beside the base model, or train LoRETTA rep instead",
        )

    def unmerge(self) -> None:
        """Nothing: nothing is ever merged."""

    def _bottleneck(self, adapter: str, hidden: torch.Tensor) -> torch.Tensor:
        """`Up(relu(Down(h)))`, `[..., out]`."""
        down_bias, up_bias = self.loretta_adp_down_bias[adapter], self.loretta_adp_up_bias[adapter]
        width, bottleneck = self.out_features, down_bias.shape[0]
        down = matrix(list(self.loretta_adp_down[adapter].parameters()), width, bottleneck)
        up = matrix(list(self.loretta_adp_up[adapter].parameters()), bottleneck, width)
        middle = functional.relu(self._cast_input_dtype(hidden, down.dtype) @ down + down_bias)  # [..., b]
        return middle @ up + up_bias


class LorettaAdpModel(MethodModel):
    """A model with LoRETTA adp adapters; made by `get_peft_model`."""

    prefix = "loretta_adp_"
    tuner_layer_cls = LorettaAdpLinear
    target_module_mapping: ClassVar[Mapping[str, list[str]]] = TARGETS

    def check_targets(self, config: Any, targets: Mapping[str, nn.Module]) -> None:  # noqa: ANN401
        """Check the targets, and note the shapes of their tensors."""
        super().check_targets(config, targets)
        note_shapes(config, [widths_of(module)[1] for module in targets.values()], config.bottleneck)


register("loretta_adp", LorettaAdpConfig, LorettaAdpModel)
