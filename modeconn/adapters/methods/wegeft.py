"""WeGeFT as a PEFT method: updates that the base model's own weights generate."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftType
from torch import nn

from modeconn.adapters.methods.layer import UpdatedLinear, widths_of
from modeconn.adapters.methods.registration import register
from modeconn.adapters.methods.settings import TargetedConfig
from modeconn.adapters.methods.tuner import MethodModel
from modeconn.adapters.methods.updates import ALPHA, RANK, wegeft_pair
from modeconn.errors import AdapterError, listed


@dataclass
class WeGeFTConfig(TargetedConfig):
    """Settings of WeGeFT (Savadikar 2023, arXiv 2312.00700).

    `dW = (alpha / r) (W phi^T) psi` in input form, `(alpha / r) phi (psi W)` in output form. Phi starts at zero and
    psi Kaiming uniform, so that the model starts as the base. Tied adapters have one pair for all modules whose names
    differ in numbers only, such as the `q_proj` of all layers; the file holds it once, under the first module's name.
    The published runs have r 64, alpha 128, dropout 0.1, tied pairs.

    Attributes:
        r: The rank.
        alpha: Numerator of the scaling.
        dropout: Dropout of the features that the update reads, in training.
        form: "input" or "output".
        tied: Whether layers share their pairs.
        tied_modules: Pattern of names -> the modules that share one pair; noted by `get_peft_model`, not for users.

    Raises:
        AdapterError: If a setting cannot be used.
    """

    r: int = RANK
    alpha: float = ALPHA
    dropout: float = 0.0
    form: str = "input"
    tied: bool = True
    tied_modules: dict[str, list[str]] | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        self.peft_type = PeftType("WEGEFT")

    def wrong_settings(self) -> dict[str, str]:
        """The settings that cannot be used -> what they have to be."""
        rules = {"r": "rank", "alpha": "number", "dropout": "rate", "form": "input|output", "tied": "flag"}
        wrong = self.unlike(rules)
        if self.tied_modules is not None and not self.tied:
            wrong["tied_modules"] = "none without tied"
        return wrong


class WeGeFTLinear(UpdatedLinear):
    """A linear module with WeGeFT adapters.

    Attributes:
        wegeft_phi: Adapter -> phi, where this module holds it: `[r, in]`, in output form `[out, r]`.
        wegeft_psi: Adapter -> psi, where this module holds it: `[r, in]`, in output form `[r, out]`.
        forms: Adapter -> "input" or "output".
        holders: Adapter -> the module that holds the pair, where it is another one. A plain dict: PyTorch must not
            see a shared pair twice, or it would be saved, moved and cast once for each module.
    """

    adapter_layer_names = ("wegeft_phi", "wegeft_psi")
    other_param_names = (*UpdatedLinear.other_param_names, "forms", "holders")

    def __init__(self, base_layer: nn.Module, name: str) -> None:
        super().__init__(base_layer, name)
        self.wegeft_phi = nn.ParameterDict()
        self.wegeft_psi = nn.ParameterDict()
        self.forms: dict[str, str] = {}
        self.holders: dict[str, WeGeFTLinear] = {}

    def make_parameters(self, adapter: str, config: WeGeFTConfig) -> None:
        """Make phi = 0 and psi Kaiming uniform, unless another module holds the pair."""
        self.forms[adapter] = config.form
        if config.tied and self.name not in _holders(config):
            return
        inputs = config.form == "input"
        width = self.in_features if inputs else self.out_features
        psi = torch.empty(config.r, width)
        nn.init.kaiming_uniform_(psi, a=math.sqrt(5))
        phi = torch.zeros((config.r, width) if inputs else (width, config.r))
        self.wegeft_phi[adapter], self.wegeft_psi[adapter] = nn.Parameter(phi), nn.Parameter(psi)

    def factors(self, adapter: str) -> tuple[torch.Tensor, torch.Tensor]:
        """`up [out, r]` and `down [r, in]`, of the original weight also while adapters are merged."""
        holder = self.holders.get(adapter, self)
        weight = self.original_weight()
        # The layers of a tied group may lie on several devices.
        phi, psi = (pair[adapter].to(weight.device) for pair in (holder.wegeft_phi, holder.wegeft_psi))
        return wegeft_pair(self.forms[adapter], weight.to(phi.dtype), phi, psi)


class WeGeFTModel(MethodModel):
    """A model with WeGeFT adapters; made by `get_peft_model`."""

    prefix = "wegeft_"
    tuner_layer_cls = WeGeFTLinear
    reads_weight = True

    def check_targets(self, config: WeGeFTConfig, targets: Mapping[str, nn.Module]) -> None:
        """Check the targets, and note which of them share a pair."""
        super().check_targets(config, targets)
        if not config.tied:
            return
        groups = tied_groups(list(targets))
        if config.tied_modules not in (None, groups):
            raise AdapterError(
                "the tied WeGeFT adapter is of another model",
                expected=f"the modules {listed(_modules(config.tied_modules or {}))}",
                got=listed(targets),
                remedy="use the base model that it was trained on; for a new adapter leave tied_modules out",
            )
        for pattern, group in groups.items():
            _check_one_width(pattern, config.form, {name: targets[name] for name in group})
        config.tied_modules = groups

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Add an adapter, and point the modules of each tied group to the one that holds their pair."""
        config: Any = self.peft_config[adapter_name]
        if config.tied and kwargs.get("state_dict") is not None:
            raise AdapterError(
                "a tied WeGeFT adapter cannot be put into a model by the names in its file",
                expected="all modules to have tensors of their own",
                got="tied=True, where the first module of a group holds the pair of all",
                remedy="use get_peft_model or PeftModel.from_pretrained",
            )
        super().inject_adapter(model, adapter_name, *args, **kwargs)
        noted: Any = self.peft_config[adapter_name]
        for first, *others in (noted.tied_modules or {}).values():
            for name in others:
                layer: Any = model.get_submodule(name)
                layer.holders[adapter_name] = model.get_submodule(first)


def tied_groups(modules: list[str]) -> dict[str, list[str]]:
    """Pattern -> the modules that share one pair: those whose names differ in numbers only, in the model's order.

    Example:
        >>> tied_groups(["h.0.attn.out", "h.0.mlp.out", "h.1.attn.out", "h.1.mlp.out"])
        {'h.*.attn.out': ['h.0.attn.out', 'h.1.attn.out'], 'h.*.mlp.out': ['h.0.mlp.out', 'h.1.mlp.out']}
    """
    groups: dict[str, list[str]] = {}
    for name in modules:
        groups.setdefault(re.sub(r"(?<![^.])\d+(?![^.])", "*", name), []).append(name)
    return groups


def _check_one_width(pattern: str, form: str, modules: Mapping[str, nn.Module]) -> None:
    """Raise unless the modules of a tied group have the width in common in which the pair lives."""
    side = 0 if form == "input" else 1
    widths = {name: widths_of(module)[side] for name, module in modules.items()}
    if len(set(widths.values())) > 1:
        raise AdapterError(
            f"the modules {pattern} cannot share one WeGeFT pair",
            expected=f"one {form} width",
            got=listed(f"{name} {width}" for name, width in widths.items()),
            remedy="set tied=False",
        )


def _holders(config: WeGeFTConfig) -> set[str]:
    """The modules that hold the pair of a tied group."""
    return {group[0] for group in (config.tied_modules or {}).values()}


def _modules(groups: Mapping[str, list[str]]) -> list[str]:
    """All modules of some groups."""
    return [name for group in groups.values() for name in group]


register("wegeft", WeGeFTConfig, WeGeFTModel)
