"""LoRA adapters: tensors as PEFT names them to weight updates, and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from modeconn.adapters.config import AdapterConfig
from modeconn.adapters.update import LowRank, Update
from modeconn.errors import AdapterError, listed

PREFIX = "base_model.model."
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"
_TABLE_DOWN, _TABLE_UP = ".lora_embedding_A", ".lora_embedding_B"
_BASE_COPY = ".base_layer.weight"


@dataclass(frozen=True)
class LoraParts:
    """The tensors of a LoRA file, sorted by what they do.

    Attributes:
        updates: What is added to a parameter of the base, by the parameter's name.
        saved: What replaces a parameter of the base (modules_to_save), by the parameter's name.
        base_copies: Copies of base weights that PEFT saves beside an embedding; they change nothing.
    """

    updates: Mapping[str, Update]
    saved: Mapping[str, torch.Tensor]
    base_copies: Mapping[str, torch.Tensor]


def parse_lora(tensors: Mapping[str, torch.Tensor], config: AdapterConfig) -> LoraParts:
    """Sort a LoRA file's tensors; every one is used.

    Raises:
        AdapterError: If a name is unknown, a factor lacks its partner, or a rank is not that of the config.
    """
    rest = dict(tensors)
    updates = {}
    for name in sorted(tensors):
        for down, up, lookup in ((_DOWN, _UP, False), (_TABLE_DOWN, _TABLE_UP, True)):
            if name.startswith(PREFIX) and name.endswith(down) and name.removesuffix(down) + up in rest:
                module = name.removeprefix(PREFIX).removesuffix(down)
                pair = rest.pop(name), rest.pop(name.removesuffix(down) + up)
                updates[f"{module}.weight"] = Update.of(_low_rank(module, *pair, config, lookup=lookup))
    base_copies, saved = {}, {}
    for name in list(rest):
        parameter = name.removeprefix(PREFIX)
        if name.endswith(_BASE_COPY) and parameter.replace(_BASE_COPY, ".weight") in updates:
            base_copies[parameter.replace(_BASE_COPY, ".weight")] = rest.pop(name)
        elif name.startswith(PREFIX) and _is_saved(parameter, config.modules_to_save):
            saved[parameter] = rest.pop(name)
    _check_complete(rest, updates, saved, config)
    return LoraParts(updates, saved, base_copies)


def _low_rank(module: str, down: torch.Tensor, up: torch.Tensor, config: AdapterConfig, *, lookup: bool) -> LowRank:
    """One module's factors, checked against each other and the config."""
    fits = down.ndim == 2 and up.ndim == 2 and down.shape[0] == up.shape[1] == config.rank(module)
    if not fits:
        raise AdapterError(
            f"the factors of {module} in {config.origin} do not fit together",
            expected=f"A [r, in] and B [out, r] with r = {config.rank(module)} from adapter_config.json",
            got=f"A {list(down.shape)} and B {list(up.shape)}",
            remedy="use the adapter_config.json that was saved with these weights"
            + ("; convolutions are not supported" if down.ndim == 4 else ""),
        )
    if lookup:
        return LowRank(down.T.contiguous(), up.T.contiguous(), config.scaling(module), lookup=True)
    return LowRank(up, down, config.scaling(module))


def _is_saved(parameter: str, modules: tuple[str, ...]) -> bool:
    """Whether a parameter belongs to a module that is trained and saved whole."""
    return any(f".{module}." in f".{parameter}" for module in modules)


def _check_complete(
    rest: Mapping[str, torch.Tensor],
    updates: Mapping[str, Update],
    saved: Mapping[str, torch.Tensor],
    config: AdapterConfig,
) -> None:
    """Raise if tensors are left over, none is an update, or a saved module is absent."""
    if rest:
        raise AdapterError(
            f"{config.origin} holds tensors that would not be used",
            expected="pairs of lora_A and lora_B under 'base_model.model.', and the modules_to_save",
            got=listed(rest),
            remedy="save the adapter with PEFT's save_pretrained; nothing is skipped silently",
        )
    if not updates:
        raise AdapterError(
            f"{config.origin} holds no update",
            expected="at least one pair of lora_A and lora_B",
            got=f"saved modules only: {listed(saved)}",
            remedy="save the adapter with PEFT's save_pretrained",
        )
    if config.modules_to_save and not saved:
        raise AdapterError(
            f"{config.origin} lacks the modules that it says it saved",
            expected=f"weights of one of {listed(config.modules_to_save)}",
            got="none in the file",
            remedy="save the adapter with PEFT's save_pretrained",
        )


def lora_tensors(
    updates: Mapping[str, Update], saved: Mapping[str, torch.Tensor], config: AdapterConfig
) -> dict[str, torch.Tensor]:
    """The tensors of a LoRA file, one pair of factors a module, in units of the config's scaling."""
    tensors = {PREFIX + name: value for name, value in saved.items()}
    for parameter, update in updates.items():
        module = parameter.removesuffix(".weight")
        up, down = update.factors(unit=config.scaling(module))
        if update.lookup:
            tensors[PREFIX + module + _TABLE_DOWN], tensors[PREFIX + module + _TABLE_UP] = up.T, down.T
        else:
            tensors[PREFIX + module + _DOWN], tensors[PREFIX + module + _UP] = down, up
    return tensors


def combined_config(first: AdapterConfig, updates: Mapping[str, Update]) -> dict[str, Any]:
    """The adapter_config.json of a combination: one target a module, scaling 1 by `alpha = r`.

    Args:
        first: The config of one of the points, for the base model, task type and saved modules.
        updates: The combined updates, by parameter name.
    """
    ranks = {name.removesuffix(".weight"): update.rank for name, update in updates.items()}
    rank = max(ranks.values())
    patterns = {module: value for module, value in sorted(ranks.items()) if value != rank}
    keep = ("task_type", "base_model_name_or_path", "revision", "modules_to_save", "fan_in_fan_out")
    return {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
        "target_modules": sorted(ranks),
        "rank_pattern": patterns,
        "alpha_pattern": dict(patterns),
        **{key: first.raw.get(key) for key in keep},
    }
