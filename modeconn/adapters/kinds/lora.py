"""LoRA: tensors as PEFT names them to weight updates, and back."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from modeconn.adapters.kinds.kind import PREFIX, Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.values import is_flag, is_number, is_pattern, is_rank
from modeconn.adapters.update import LowRank, Update
from modeconn.errors import AdapterError

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"
_TABLE_DOWN, _TABLE_UP = ".lora_embedding_A", ".lora_embedding_B"
_BASE_COPY = ".base_layer.weight"

# Initialisations that leave the base weight alone; all others (PiSSA, OLoRA, CorDA, LoftQ, ...) replace it.
_PLAIN_INITS = (True, False, None, "gaussian", "eva", "orthogonal")


def read_lora(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort a LoRA file's tensors; every one is used.

    Raises:
        AdapterError: If a name is unknown, a factor lacks its partner, or a rank is not that of the config.
    """
    unread = Unread(tensors, config)
    updates = {}
    for down, up, lookup in ((_DOWN, _UP, False), (_TABLE_DOWN, _TABLE_UP, True)):
        for module in unread.modules(down):
            if unread.has(module, up):  # a lone factor is left over, and named
                pair = unread.take(module, down), unread.take(module, up)
                updates[f"{module}.weight"] = Update.of(_low_rank(module, *pair, config, lookup=lookup))
    updates = dict(sorted(updates.items()))
    copied = [module for module in unread.modules(_BASE_COPY) if f"{module}.weight" in updates]
    base_copies = {f"{module}.weight": unread.take(module, _BASE_COPY) for module in copied}
    return unread.finish(updates, unread.take_saved(), "pairs of lora_A and lora_B", base_copies)


def _low_rank(module: str, down: torch.Tensor, up: torch.Tensor, config: "AdapterConfig", *, lookup: bool) -> LowRank:
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


def lora_tensors(updates: Mapping[str, Update], saved: Tensors, config: "AdapterConfig") -> dict[str, torch.Tensor]:
    """The tensors of a LoRA file, one pair of factors a module, in units of the config's scaling.

    Raises:
        AdapterError: If an update has no factors.
    """
    tensors = {PREFIX + name: value for name, value in saved.items()}
    for parameter, update in updates.items():
        module = parameter.removesuffix(".weight")
        up, down = update.factors(unit=config.scaling(module))
        if update.lookup:
            tensors[PREFIX + module + _TABLE_DOWN], tensors[PREFIX + module + _TABLE_UP] = up.T, down.T
        else:
            tensors[PREFIX + module + _DOWN], tensors[PREFIX + module + _UP] = down, up
    return tensors


def combined_config(first: "AdapterConfig", updates: Mapping[str, Update]) -> dict[str, Any]:
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


def _refused(raw: Mapping[str, Any]) -> list[str]:
    """Initialisations that replace the base weight."""
    init = raw.get("init_lora_weights")
    return [] if init in _PLAIN_INITS else [f"init_lora_weights={init!r}"]


LORA = Kind(
    name="LORA",
    read=read_lora,
    settings=frozenset(
        {
            "alpha_pattern",
            "eva_config",
            "fan_in_fan_out",
            "init_lora_weights",
            "loftq_config",
            "lora_alpha",
            "lora_dropout",
            "megatron_core",
            "merge_weights",
            "qalora_group_size",
            "r",
            "rank_pattern",
            "runtime_config",
            "use_rslora",
        }
    ),
    fits={
        "r": is_rank,
        "lora_alpha": is_number,
        "rank_pattern": lambda value: is_pattern(value, is_rank),
        "alpha_pattern": lambda value: is_pattern(value, is_number),
        "use_rslora": is_flag,
    },
    defaults={"bias": "none"},
    scalings=lambda config, modules: {module: config.scaling(module) for module in modules},
    refused=_refused,
    remedy="convert the adapter to plain LoRA (PEFT: save_pretrained with"
    " path_initial_model_for_weight_conversion), or merge it and compare full models",
)
