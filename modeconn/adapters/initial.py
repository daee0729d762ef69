"""The factors that an adapter began with: where its initialisation took them out of the base, they are needed."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from modeconn.adapters.kinds.initial import start_of, subtract_initial
from modeconn.adapters.kinds.lora import plain_names
from modeconn.adapters.reading import AdapterFiles, read_adapter_files, read_initial_factors
from modeconn.errors import AdapterError, listed

_SCALING = ("lora_alpha", "use_rslora", "alpha_pattern")


def initial_factors(tensors: Mapping[str, torch.Tensor], raw: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """What of an untrained adapter must be kept to know its update later; nothing where the base was left alone.

    Pass it to `write_adapter(..., initial=...)` whenever the adapter is saved: `Adapter.from_pretrained` finds it.

    Args:
        tensors: PEFT's names -> tensors, before the first step.
        raw: The content of adapter_config.json.

    Example:
        >>> pair = {"base_model.model.q.lora_A.weight": torch.ones(1, 2), "base_model.model.norm.bias": torch.ones(2)}
        >>> sorted(initial_factors(pair, {"init_lora_weights": "corda"})), initial_factors(pair, {})
        (['base_model.model.q.lora_A.weight'], {})
    """
    if start_of(raw) is None:
        return {}
    return {
        name: value.detach().cpu().clone()
        for name, value in tensors.items()
        if name.endswith((".lora_A.weight", ".lora_B.weight"))
    }


def since_initial(files: AdapterFiles, initial: str | Path | None) -> AdapterFiles:
    """An adapter's files with the factors that it began with subtracted; the same object where there are none.

    Args:
        files: The adapter's files.
        initial: The adapter before training, a folder or hub id; None looks for a record beside the adapter.

    Raises:
        AdapterError: If the initial factors do not belong to the adapter, or it has no use for them.
    """
    origin = f"the adapter in {files.folder}"
    if initial is None:
        first = read_initial_factors(files.folder)
        if not first:
            return files
    else:
        given = read_adapter_files(initial)
        _check_scaling(files.config, given.config, origin)
        first = given.tensors
    raw, tensors = subtract_initial(files.config, plain_names(files.tensors), plain_names(first), origin)
    return replace(files, config=raw, tensors=tensors)


def _check_scaling(raw: Mapping[str, Any], first: Mapping[str, Any], origin: str) -> None:
    """Raise if the initial adapter is scaled in another way: its factors were then not taken out of this base."""
    differing = [
        f"{key}={first.get(key)!r} instead of {raw.get(key)!r}" for key in _SCALING if _differ(raw, first, key)
    ]
    if differing:
        raise AdapterError(
            f"the initial adapter is not that of {origin}",
            expected="the same scaling of the factors",
            got=listed(differing),
            remedy="give the folder that PEFT's save_pretrained wrote right after get_peft_model",
        )


def _differ(raw: Mapping[str, Any], first: Mapping[str, Any], key: str) -> bool:
    """Whether a setting differs; one that is empty is as good as none."""
    return (raw.get(key) or None) != (first.get(key) or None)
