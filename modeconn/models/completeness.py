"""Whether an adapter's file holds every module that its settings target in a base."""

from types import SimpleNamespace
from typing import Any

from torch import nn

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.kinds.kind import PREFIX
from modeconn.errors import ModelError, listed

# What PEFT's rule for a module reads of the settings.
_TARGETING = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "target_parameters")
_HEADS = ("classifier", "score")  # PEFT trains a classifier's head whole, and targets nothing inside of it


def check_complete(model: nn.Module, point: Adapter, base_name: str) -> None:
    """Raise if the settings of an adapter target a module of the base that its file holds nothing for.

    PEFT fills such a module with an update of zero, so that half an adapter would be measured as if it were whole.
    Combinations, whose settings are no file's, are complete if their points are.

    Args:
        model: The base model.
        point: The point.
        base_name: The base's folder or hub id, for the message.

    Raises:
        ModelError: If modules are missing; the message lists them.
    """
    if not point.config.kind.has_update or point.own is None or not point.config.raw.get("target_modules"):
        return
    targeted = _targeted(model, point)
    held = {name.rpartition(".")[0] for name in point.updates}
    missing = [module for module in targeted if module not in held and not _has_tensors(point, module)]
    if missing:
        raise ModelError(
            f"{point.name} is not complete",
            expected=f"tensors for all {len(targeted)} modules of {base_name} that its settings target",
            got=f"none for {len(missing)} of them: {listed(missing)}",
            remedy="copy or save the adapter again; where these modules were never trained, exclude them"
            " (exclude_modules in adapter_config.json)",
        )


def _targeted(model: nn.Module, point: Adapter) -> list[str]:
    """The modules of a base that an adapter's settings target, by PEFT's own rule."""
    from peft.tuners.tuners_utils import _maybe_include_all_linear_layers, check_target_module_exists

    raw = point.config.raw
    whole = [*point.config.modules_to_save, *(_HEADS if raw.get("task_type") in ("SEQ_CLS", "TOKEN_CLS") else ())]
    settings: Any = SimpleNamespace(
        **{key: raw.get(key) for key in _TARGETING}, modules_to_save=whole, task_type=raw.get("task_type")
    )
    settings = _maybe_include_all_linear_layers(settings, model)
    return [name for name, _ in model.named_modules() if name and check_target_module_exists(settings, name)]


def _has_tensors(point: Adapter, module: str) -> bool:
    """Whether the file holds a tensor of a module, be it of no rank, as pruned ones are."""
    return any(name.startswith(f"{PREFIX}{module}.") for name in point.own or ())
