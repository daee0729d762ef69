"""LoRETTA rep as a PEFT method: low-rank updates whose factors are tensor-trains."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftType
from torch import nn

from modeconn.adapters.methods.layer import UpdatedLinear, widths_of
from modeconn.adapters.methods.loretta import LorettaConfig, new_train, note_shapes
from modeconn.adapters.methods.registration import register
from modeconn.adapters.methods.tuner import MethodModel
from modeconn.adapters.methods.updates import ALPHA, RANK, rep_pair


@dataclass
class LorettaRepConfig(LorettaConfig):
    """Settings of LoRETTA rep (Yang 2024, arXiv 2402.11417).

    `dW = (alpha / r) B A`, where `A^T [in, r]` and `B^T [r, out]` are tensor-trains. In the published start no core is
    zero, so that `dW` is not zero either and the model does not start as the base; by default the last core of `B^T`
    starts at zero instead.

    Attributes:
        r: The rank of the update.
        alpha: Numerator of the scaling.
        dropout: Dropout of the features that the update reads, in training.
        tensor_rank: See `LorettaConfig`.
        tensor_shapes: See `LorettaConfig`.
        start: See `LorettaConfig`.

    Raises:
        AdapterError: If a setting cannot be used.
    """

    r: int = RANK
    alpha: float = ALPHA
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        self.peft_type = PeftType("LORETTA_REP")

    def wrong_settings(self) -> dict[str, str]:
        """The settings that cannot be used -> what they have to be."""
        return super().wrong_settings() | self.unlike({"r": "rank", "alpha": "number", "dropout": "rate"})


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
        down, up = (new_train(config, width, config.r) for width in (self.in_features, self.out_features))
        if config.start == "zero":
            up[-1].zero_()
        self.loretta_rep_down[adapter] = nn.ParameterList(down)
        self.loretta_rep_up[adapter] = nn.ParameterList(up)

    def factors(self, adapter: str) -> tuple[torch.Tensor, torch.Tensor]:
        """`B [out, r]` and `A [r, in]`, contracted."""
        down, up = (list(cores[adapter].parameters()) for cores in (self.loretta_rep_down, self.loretta_rep_up))
        return rep_pair(down, up, self.ranks[adapter])


class LorettaRepModel(MethodModel):
    """A model with LoRETTA rep adapters; made by `get_peft_model`."""

    prefix = "loretta_rep_"
    tuner_layer_cls = LorettaRepLinear

    def check_targets(self, config: Any, targets: Mapping[str, nn.Module]) -> None:  # noqa: ANN401
        """Check the targets, and note the shapes of their tensors."""
        super().check_targets(config, targets)
        note_shapes(config, [width for module in targets.values() for width in widths_of(module)], config.r)


register("loretta_rep", LorettaRepConfig, LorettaRepModel)
