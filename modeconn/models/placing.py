"""Putting a point into a model and taking it out again, exactly."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.ties import with_ties
from modeconn.adapters.update import Update, agree
from modeconn.errors import ModelError, listed
from modeconn.models.full import tied_names
from modeconn.models.offloaded import device_of, is_offloaded, is_spread
from modeconn.models.quantised import check_starts, is_quantised, shape_of, unpacked
from modeconn.models.side_branch import Branch, adding, side_branch

_BF16_ROUNDING = 2.0**-8  # relative; twice the largest, as both sides may have been rounded
_FLOAT16_ROUNDING = 2.0**-24  # absolute, of numbers near 0


@dataclass(frozen=True)
class Weights:
    """The parameters of a model, for updates that are functions of them."""

    model: nn.Module

    def weight(self, parameter: str) -> torch.Tensor:
        """A parameter as the model stores it; of a quantised one the numbers that it stands for."""
        return unpacked(*_owner(self.model, parameter))

    def transposed(self, parameter: str) -> bool:
        """Whether the model stores a parameter as `[in, out]`."""
        return is_transposed(*_owner(self.model, parameter))

    def has(self, parameter: str) -> bool:
        """Whether the model has a parameter of this name."""
        try:
            module, leaf = _owner(self.model, parameter)
        except AttributeError:
            return False
        return module._parameters.get(leaf) is not None


@contextmanager
def placed(model: nn.Module, point: Adapter) -> Iterator[None]:
    """A context in which the model is the function of a point; afterwards it is what it was, also after an error.

    Float32 and float64 weights are replaced by `W_0 + dW`, made from the base's own tensor each time (merging and
    unmerging would drift). Narrower ones (bf16, 8 and 4 bit) would round most of a small update away: there the
    update runs beside the module as `y + dW x` in float32, and so it does where the model is spread over devices, as
    there is no memory to spare. Parameters that no such branch can serve (norms, trained biases, experts) and those of
    full fine-tunes are rounded to the model's dtype, as in a merged checkpoint. A
    parameter is replaced in the module that the point names and nowhere else, so that tied weights stay apart as they
    do in PEFT; those of full fine-tunes, and trained tokens, move together.

    Args:
        model: The base model; its parameters' objects are the same before and after.
        point: The point; it must fit (see `check_fits`).
    """
    replaced, branches = changes(model, point)
    with ExitStack() as undo:
        for name, value in replaced.items():
            _replace(model, name, value, undo)
        for module, beside in branches.items():
            undo.callback(module.register_forward_hook(adding(beside)).remove)
        yield


def changes(model: nn.Module, point: Adapter) -> tuple[dict[str, torch.Tensor], dict[nn.Module, list[Branch]]]:
    """What takes the place of which parameter at a point, and what runs beside which module, see `placed`.

    Args:
        model: The base model.
        point: The point; it must fit (see `check_fits`).
    """
    point = with_ties(point.within(Weights(model)), tied_names(model))
    made: dict[tuple[int, int], torch.Tensor] = {}  # tied names share what takes the weight's place
    replaced, branches = dict(point.saved), {}
    spread = is_spread(model)
    for name, update in point.updates.items():
        module, leaf = _owner(model, name)
        weight, transposed = _present(module, leaf, update), is_transposed(module, leaf)
        foldable = weight.dtype in (torch.float32, torch.float64) and not (spread or is_quantised(weight))
        if foldable or not _takes_branch(module, leaf, update):
            key = id(weight), id(update)
            if key not in made:
                made[key] = folded(weight, update, transposed=transposed)
            replaced[name] = made[key]
        else:
            branches.setdefault(module, []).append(side_branch(module, weight, update, transposed=transposed))
    return replaced, branches


def folded(weight: torch.Tensor, update: Update, *, transposed: bool) -> torch.Tensor:
    """`W_0 + dW` in the weight's dtype, computed in float32 at least, as the model stores the parameter."""
    weight = weight.detach()
    if update.replaces:
        return update.replacement(weight)
    if weight.dtype not in (torch.float32, torch.float64):
        return (weight.float() + update.dense(weight.float(), transposed=transposed)).to(weight.dtype)
    if not update.low_rank:
        return weight + update.dense(weight, transposed=transposed)
    up, down = (factor.to(weight.device) for factor in update.factors(dtype=weight.dtype))
    if transposed and not update.stored:  # stored as [in, out]
        up, down = down.T, up.T
    return torch.addmm(weight, up, down)


def is_transposed(module: nn.Module, leaf: str) -> bool:
    """Whether a module stores its matrix as `[in, out]`, or those of its experts as `[E, in, out]`."""
    if isinstance(module, Conv1D):
        return leaf == "weight"
    weight = module._parameters.get(leaf)
    return weight is not None and weight.ndim == 3 and bool(getattr(module, "is_transposed", False))


def check_fits(model: nn.Module, point: Adapter, base_name: str) -> None:
    """Raise unless every parameter of the point is one of the model's, in shape and content.

    Raises:
        ModelError: If parameters are missing, have other shapes, or base copies differ from the base; if the base is
            quantised, or spread over devices, and cannot take the point.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    check_starts(parameters, point, base_name)
    point = point.within(Weights(model))
    wanted = {name: _shape_in(model, name, update) for name, update in point.updates.items()}
    wanted |= {name: tuple(value.shape) for name, value in point.saved.items()}
    made = {name for name, update in point.updates.items() if name not in parameters and _can_make(model, name, update)}
    missing = sorted(wanted.keys() - parameters.keys() - made)
    if missing:
        raise ModelError(
            f"{point.name} does not fit the base model {base_name}",
            expected=f"a base that has all {len(wanted)} parameters that the adapter changes",
            got=f"{len(missing)} of them are not there: {listed(missing)}",
            remedy=f"give the base that it was trained on (it names {point.config.base_model!r})",
        )
    present = {name: shape_of(*_owner(model, name)) for name in wanted if name not in made}
    different = [
        f"{name} {list(wanted[name])} for {list(shape)}"
        for name, shape in present.items()
        if not agree(wanted[name], shape)
    ]
    if different:
        raise ModelError(
            f"{point.name} does not fit the base model {base_name}",
            expected="updates in the shapes of the base's parameters",
            got=listed(different),
            remedy=f"give the base that it was trained on (it names {point.config.base_model!r})",
        )
    check_copies({name: Weights(model).weight(name) for name in point.base_copies}, point, base_name)
    replaced = {name for name, update in point.updates.items() if not _takes_branch(*_owner(model, name), update)}
    if is_spread(model):
        _check_reachable(model, point, replaced, base_name)
    rounded = [name for name in {*point.saved, *replaced} - made if is_quantised(parameters[name])]
    if rounded:
        raise ModelError(
            f"{point.name} cannot be put into the quantised base model {base_name}",
            expected="changes that can run beside a quantised weight, as those of LoRA do",
            got=f"weights in the place of {listed(rounded)}",
            remedy="load the base in full precision, or quantise it without these modules",
        )


def _check_reachable(model: Any, point: Adapter, replaced: Collection[str], base_name: str) -> None:  # noqa: ANN401
    """Raise if a point replaces weights that are fetched from elsewhere at each call, or is a model of its own."""
    if point.replaces:
        raise ModelError(
            f"{point.name} cannot be put into {base_name} where that is spread over devices",
            expected="an adapter: a full fine-tune needs the memory of a second model",
            got="a full fine-tune",
            remedy="load the base on one device (leave device_map, --device-map out)",
        )
    ties: Mapping[str, str] = getattr(model, "all_tied_weights_keys", None) or {}
    changed = {*point.saved, *replaced}
    changed |= {other for pair in ties.items() if changed & {*pair} for other in pair}
    changed |= {name for name, one in point.updates.items() if one.needs_base or not one.low_rank}
    away = [name for name in changed if is_offloaded(_owner(model, name)[0])]
    if away:
        raise ModelError(
            f"{point.name} cannot be put into {base_name}, of which weights are offloaded",
            expected="low-rank updates, as those of LoRA, of modules that no device holds",
            got=f"other changes of {listed(away)}",
            remedy="put these modules on a device (device_map, --device-map), or give it more memory (--max-memory)",
        )


def check_copies(parameters: Mapping[str, torch.Tensor], point: Adapter, base_name: str) -> None:
    """Raise if a base weight that was saved with the adapter is not the base's.

    Rounding apart: the adapter may have been trained in another dtype than the base is in now.
    """
    differing = []
    for name, copy in point.base_copies.items():
        weight = parameters[name]
        same = weight.shape == copy.shape and torch.allclose(
            weight.detach().cpu().float(), copy, rtol=_BF16_ROUNDING, atol=_FLOAT16_ROUNDING
        )
        if not same:
            differing.append(f"{name} {list(copy.shape)} for {list(weight.shape)}")
    if differing:
        raise ModelError(
            f"{point.name} was trained on other embeddings than those of {base_name}",
            expected="the copies of base weights in the adapter's file to equal the base",
            got=f"differences in {listed(differing)}",
            remedy="give the base with the vocabulary that the adapter was trained with",
        )


def _owner(model: nn.Module, parameter: str) -> tuple[nn.Module, str]:
    """The module that holds a parameter, and the parameter's name there."""
    path, _, leaf = parameter.rpartition(".")
    return model.get_submodule(path), leaf


def _replace(model: nn.Module, name: str, value: torch.Tensor, undo: ExitStack) -> None:
    """Put a tensor in the place of one module's parameter, and the parameter's object back on leaving."""
    module, leaf = _owner(model, name)
    original = module._parameters[leaf]
    like = value if original is None else original
    new = nn.Parameter(value.detach().to(like.device, like.dtype), requires_grad=False)
    undo.callback(module._parameters.__setitem__, leaf, original)
    module._parameters[leaf] = new


def _takes_branch(module: nn.Module, leaf: str, update: Update) -> bool:
    """Whether an update can run beside its module, and should: what replaces a weight is exact when rounded once."""
    if leaf == "bias":
        return any(part.makes_parameter for part in update.parts) and isinstance(module, nn.Linear | Conv1D)
    branches = isinstance(module, nn.Linear | nn.Embedding | Conv1D) and leaf == "weight"
    return branches and not all(part.rounds for part in update.parts)


def _shape_in(model: nn.Module, name: str, update: Update) -> tuple[int, ...]:
    """The shape that an update has in the storage order of the model's module."""
    try:
        module, leaf = _owner(model, name)
    except AttributeError:
        return update.shape
    return update.stored_shape(transposed=is_transposed(module, leaf))


def _present(module: nn.Module, leaf: str, update: Update) -> torch.Tensor:
    """A module's parameter; zeros where it has none and the update makes one."""
    weight = module._parameters[leaf]
    if weight is not None:
        return weight
    like = next(module.parameters())  # may be quantised: a bias is not
    dtype = like.dtype if like.is_floating_point() else None
    return torch.zeros(update.shape, dtype=dtype, device=device_of(module, like))


def _can_make(model: nn.Module, name: str, update: Update) -> bool:
    """Whether an update may make a parameter that the model's module lacks: the bias of a linear layer."""
    try:
        module, leaf = _owner(model, name)
    except AttributeError:
        return False
    added = leaf == "bias" and all(part.makes_parameter for part in update.parts)
    return added and isinstance(module, nn.Linear) and update.shape == (module.out_features,)
