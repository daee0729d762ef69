"""What PEFT itself makes of an adapter: the independent reference for points, in float64 where it counts."""

import copy
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.utils import ModulesToSaveWrapper
from tiny import FAMILIES

IDS = torch.tensor([[1, 5, 9, 7, 12, 4], [1, 4, 6, 8, 11, 10]])


def load_base(family: str, base: Path, dtype: torch.dtype = torch.float64) -> Any:
    """A base model as transformers loads it: a copy, as loading the same files again takes ten times as long."""
    stamps = frozenset((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in Path(base).iterdir())
    return copy.deepcopy(_loaded(family, base, dtype, stamps))


@lru_cache(maxsize=16)
def _loaded(family: str, base: Path, dtype: torch.dtype, _stamps: frozenset[tuple[str, int, int]]) -> Any:
    """The base model of the files as they are now; never given out itself."""
    return type(FAMILIES[family]()).from_pretrained(base, dtype=dtype).eval()


def load_peft(family: str, base: Path, adapter: Path, dtype: torch.dtype = torch.float64) -> PeftModel:
    """A base model with an adapter as PEFT loads it; a tensor that PEFT misses is a warning, so an error here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to")
        model = PeftModel.from_pretrained(load_base(family, base, dtype), str(adapter))
    return model.to(dtype).eval()


@torch.no_grad()
def logits(model: torch.nn.Module) -> torch.Tensor:
    """The logits of two fixed texts."""
    decoder = {"decoder_input_ids": IDS[:, :4]} if model.config.is_encoder_decoder else {}  # type: ignore[union-attr]
    return model(input_ids=IDS, **decoder).logits


def updates(model: PeftModel) -> dict[str, torch.Tensor]:
    """Parameter name -> dW as PEFT merges it, in the order in which the base stores the parameter."""
    layers = {name: module for name, module in model.base_model.model.named_modules() if isinstance(module, LoraLayer)}
    return {f"{name}.weight": layer.get_delta_weight("default").detach() for name, layer in layers.items()}


def heads(model: PeftModel) -> dict[str, torch.Tensor]:
    """Parameter name -> the tensor that PEFT puts in its place (modules_to_save)."""
    return {
        f"{name}.{leaf}": value.detach()
        for name, module in model.base_model.model.named_modules()
        if isinstance(module, ModulesToSaveWrapper)
        for leaf, value in module.modules_to_save["default"].state_dict().items()
    }


@torch.no_grad()
def merged_logits(
    family: str, base: Path, changes: Mapping[str, torch.Tensor], replaced: Mapping[str, torch.Tensor] | None = None
) -> torch.Tensor:
    """The logits of a base whose parameters were changed by hand, in float64."""
    model = load_base(family, base)
    for name, change in changes.items():
        model.get_parameter(name).add_(change)
    for name, value in (replaced or {}).items():
        model.get_parameter(name).copy_(value)
    return logits(model)
