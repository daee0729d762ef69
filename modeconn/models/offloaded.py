"""Where the weights of a base are that accelerate has spread over devices: on one of them, or away between calls.

A module whose weights lie on a disk, or in the memory of the CPU beside a full GPU, holds tensors without numbers
("meta"). Its hook fetches the numbers before each call, and lets go of them afterwards.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from accelerate.hooks import AlignDevicesHook, SequentialHook
from accelerate.utils import PrefixedDataset
from torch import nn


def is_spread(model: nn.Module) -> bool:
    """Whether a model's modules lie on several devices, or weights of it are fetched at each call."""
    placed = getattr(model, "hf_device_map", None)
    return isinstance(placed, Mapping) and (len(set(map(str, placed.values()))) > 1 or "disk" in placed.values())


def is_offloaded(module: nn.Module) -> bool:
    """Whether a module's own weights are away between calls."""
    return any(hook.offload for hook in _hooks(module))


def device_of(module: nn.Module, like: torch.Tensor) -> torch.device:
    """Where a module computes.

    Args:
        module: The module.
        like: A parameter of it.
    """
    if not is_offloaded(module):
        return like.device
    where = next(hook.execution_device for hook in _hooks(module) if hook.offload)
    return torch.device("cpu" if where is None else where)


def first_device(model: nn.Module) -> torch.device:
    """Where a model's inputs go: where it looks tokens up, or its first parameter is."""
    table: Any = None
    if is_spread(model):
        table = model.get_input_embeddings()  # type: ignore[operator]  # of transformers, as it has a device map
    module = table if isinstance(table, nn.Module) else _first_owner(model)
    return device_of(module, next(module.parameters(recurse=False)))


def places(model: nn.Module) -> dict[str, float]:
    """The share of a model's numbers that lie on each device; under "offloaded", that of those away between calls."""
    found: dict[str, int] = {}
    for module in model.modules():
        for weight in (one for one in module._parameters.values() if one is not None):
            place = "offloaded" if is_offloaded(module) else str(weight.device)
            found[place] = found.get(place, 0) + weight.numel()
    total = sum(found.values())
    return {place: size / total for place, size in sorted(found.items())}


def stored(module: nn.Module, leaf: str) -> torch.Tensor | None:
    """A module's parameter, with its numbers also where they are away.

    Args:
        module: The module.
        leaf: The parameter's name there.
    """
    weight = module._parameters[leaf]
    if weight is None or not is_offloaded(module):
        return weight
    maps = [hook.weights_map for hook in _hooks(module) if hook.offload and hook.weights_map is not None]
    return maps[0][leaf].to(weight.dtype)


def unreachable(model: nn.Module) -> list[str]:
    """The parameters that are away and cannot be fetched, as of tied weights that a device map has parted."""
    found = []
    for path, module in model.named_modules():
        if not is_offloaded(module):
            away = [leaf for leaf, one in module._parameters.items() if one is not None and one.device.type == "meta"]
            found += [f"{path}.{leaf}" for leaf in away]
        for hook in (one for one in _hooks(module) if one.offload and isinstance(one.weights_map, PrefixedDataset)):
            weights: Any = hook.weights_map
            known = set(getattr(weights.dataset, "all_keys", weights.dataset))  # asked with `in`, it reads the weight
            names = [leaf for leaf, weight in module._parameters.items() if weight is not None]
            found += [f"{path}.{leaf}" for leaf in names if f"{weights.prefix}{leaf}" not in known]
    return found


def sources_of_weights(model: nn.Module) -> dict[int, Any]:
    """What the hooks of a model fetch its weights from, by id: copies of the model share it."""
    found: dict[int, Any] = {}
    for module in model.modules():
        for hook in _hooks(module):
            several = (hook.weights_map, getattr(hook.weights_map, "dataset", None), hook.tied_params_map)
            found |= {id(one): one for one in several if one is not None}
    return found


def sharing_copy(model: nn.Module, tensors: Mapping[int, torch.Tensor]) -> Any:  # noqa: ANN401
    """A copy of a model's modules that shares tensors with it, and what offloaded ones are fetched from.

    Args:
        model: The model.
        tensors: Those that are shared, by id; others are copied.
    """
    return copy.deepcopy(model, {**tensors, **sources_of_weights(model)})


def made_plain(model: Any) -> None:  # noqa: ANN401
    """Make a spread model look to PEFT as if nobody had spread it.

    PEFT would spread it again, and write its tensors into the base's own folder. Here tensors of NaN on the right
    devices, which take no memory, stand in the place of what is away, until the hooks put the weights there at each
    call. What PEFT would compute from them before is NaN, so that it cannot be taken for the real one.

    Args:
        model: A copy made by `sharing_copy`; it is changed.
    """
    del model.hf_device_map
    for module in model.modules():
        for leaf, weight in module._parameters.items() if is_offloaded(module) else ():
            if weight is not None:
                nan = torch.full((), torch.nan, dtype=weight.dtype, device=device_of(module, weight))
                module._parameters[leaf] = nn.Parameter(nan.expand(weight.shape), requires_grad=False)


def _first_owner(model: nn.Module) -> nn.Module:
    """The first module with parameters of its own."""
    return next(module for module in model.modules() if any(one is not None for one in module._parameters.values()))


def _hooks(module: nn.Module) -> Iterator[AlignDevicesHook]:
    """The hooks of accelerate on a module that say where it computes."""
    hook: Any = getattr(module, "_hf_hook", None)
    several = hook.hooks if isinstance(hook, SequentialHook) else (hook,)
    return (one for one in several if isinstance(one, AlignDevicesHook))
