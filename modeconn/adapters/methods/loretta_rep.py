"""LoRETTA rep as a PEFT method: low-rank updates whose factors are tensor-trains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftType
from torch import nn

from modeconn.adapters.methods.layer import UpdatedLinear
from modeconn.adapters.methods.registration import register
from modeconn.adapters.methods.settings import TargetedConfig
from modeconn.adapters.methods.shapes import note_shapes, wrong_shapes
from modeconn.adapters.methods.tensor_train import new_cores, tensor_shape
from modeconn.adapters.methods.tuner import MethodModel
from modeconn.adapters.methods.updates import rep_pair


@dataclass
class LorettaRepConfig(TargetedConfig):
    """Settings of LoRETTA rep (Yang 2024, arXiv 2402.11417).

    `dW = (alpha / r) B A`, where `A^T [in, r]` and `B^T [r, out]` are tensor-trains. In the published start no core is
    zero, so that `dW` is not zero either and the model does not start as the base; by default the last core of `B^T`
    starts at zero instead.

    Attributes:
        r: The rank of the update.
        alpha: Numerator of the scaling.
        dropout: Dropout of the features that the update reads, in training.
        tensor_rank: The rank R of the tensor-trains.
        tensor_shapes: Shapes of tensors for matrices with as many entries; see `tensor_train.tensor_shape` for
            the default. `get_peft_model` notes all shapes that it used.
        start: "zero" or "published".

    Raises:
        AdapterError: If a setting cannot be used.
    """

    r: int = 8
    alpha: float = 16
    dropout: float = 0.0
    tensor_rank: int = 5
    tensor_shapes: Sequence[Sequence[int]] | None = None
    start: str = "zero"

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        self.peft_type = PeftType("LORETTA_REP")

    def wrong_settings(self) -> dict[str, str]:
        """The settings that cannot be used -> what they have to be."""
        rules = {"r": "rank", "alpha": "number", "dropout": "rate", "tensor_rank": "rank", "start": "zero|published"}
        return self.unlike(rules) | wrong_shapes(self.tensor_shapes)


class LorettaRepLinear(UpdatedLinear):
    """A linear module with LoRETTA rep adapters.

    Attributes:
        loretta_rep_down: Adapter -> the cores of `A^T`.
        loretta_rep_up: Adapter -> the cores of `B^T`.
        ranks: Adapter -> r.
    """

    adapter_layer_names = ("loretta_rep_down", "loretta_rep_up")
    other_param_names = (*UpdatedLinear.other_param_names, "ranks")

    def __init__(self, base_layer: nn.Module, name: str) -> None:
        super().__init__(base_layer, name)
        self.loretta_rep_down = nn.ModuleDict()
        self.loretta_rep_up = nn.ModuleDict()
        self.ranks: dict[str, int] = {}

    def make_parameters(self, adapter: str, config: LorettaRepConfig) -> None:
        """Make the cores; the last one of `B^T` is zero unless the published start is asked for."""
        self.ranks[adapter] = config.r
        down, up = (
            new_cores(
                tensor_shape(width, config.r, config.tensor_shapes),
                config.tensor_rank,
                std=(width + config.r) ** -0.5,
            )
            for width in (self.in_features, self.out_features)
        )
        if config.start == "zero":
            up[-1].zero_()
        self.loretta_rep_down[adapter] = nn.ParameterList(down)
        self.loretta_rep_up[adapter] = nn.ParameterList(up)

    def factors(self, adapter: str) -> tuple[torch.Tensor, torch.Tensor]:
        """`B [out, r]` and `A [r, in]`, contracted."""
        down, up = (list(cores[adapter]) for cores in (self.loretta_rep_down, self.loretta_rep_up))
        return rep_pair(down, up, self.ranks[adapter])


class LorettaRepModel(MethodModel):
    """A model with LoRETTA rep adapters; made by `get_peft_model`."""

    prefix = "loretta_rep_"
    tuner_layer_cls = LorettaRepLinear

    def check_targets(self, config: Any, targets: Mapping[str, nn.Module]) -> None:  # noqa: ANN401
        """Check the targets, and note the shapes of their tensors."""
        super().check_targets(config, targets)
        widths = [width for name, module in targets.items() for width in self.sizes(name, module)]
        note_shapes(config, widths, config.r)


register("loretta_rep", LorettaRepConfig, LorettaRepModel)
