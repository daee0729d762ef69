"""Whether an adapter's file holds every module that its settings target in a base, and the base is its own."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.full import FullModel, config_of
from modeconn.adapters.kinds.kind import PREFIX
from modeconn.errors import ModelError, listed
from modeconn.models.placing import check_copies

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
    if not _targets(point):
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


def check_complete_on_disk(base: FullModel, point: Adapter) -> None:
    """The same as `check_complete`, for a base that stays on disk.

    Raises:
        ModelError: If modules are missing; the message lists them.
    """
    if _targets(point):
        check_complete(_empty(base), point, str(base.folder))


def check_checkpoint(base: FullModel, point: Adapter) -> None:
    """Raise if a checkpoint's own file says that it is not whole on a base, or was trained on another one.

    Args:
        base: The base, which stays on disk; parameters are read of which the file holds a copy.
        point: The checkpoint. Of a combination nothing is known, so give the checkpoints that it was made from.

    Raises:
        ModelError: If modules are missing, or a copy of a base weight differs from the base.
    """
    there = {name: copy for name, copy in point.base_copies.items() if base.ties.get(name, name) in base.stored}
    check_copies({name: base.weight(name) for name in there}, replace(point, base_copies=there), str(base.folder))
    check_complete_on_disk(base, point)


def _targets(point: Adapter) -> bool:
    """Whether the settings of a point say which modules its file holds."""
    return point.config.kind.has_update and point.own is not None and bool(point.config.raw.get("target_modules"))


def _empty(base: FullModel) -> nn.Module:
    """A model's modules, without memory for their numbers."""
    import transformers

    with torch.device("meta"):
        return getattr(transformers, base.skeleton.architecture)(config_of(base.raw))


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
