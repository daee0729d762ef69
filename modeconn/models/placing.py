"""Putting a point into a model and taking it out again, exactly."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.update import Update
from modeconn.errors import ModelError, listed

_BF16_ROUNDING = 2.0**-8  # relative; twice the largest, as both sides may have been rounded
_FLOAT16_ROUNDING = 2.0**-24  # absolute, of numbers near 0


@contextmanager
def placed(model: nn.Module, point: Adapter) -> Iterator[None]:
    """A context in which the model is the function of a point; afterwards it is what it was, also after an error.

    Float32 and float64 weights are replaced by `W_0 + dW`, made from the base's own tensor each time (merging and
    unmerging would drift). Narrower ones (bf16, 8 and 4 bit) would round most of a small update away: there the
    update runs beside the module as `y + up(down(x))` in float32. A parameter is replaced in the module that
    the point names and nowhere else, so that tied weights stay apart as they do in PEFT.

    Args:
        model: The base model; its parameters' objects are the same before and after.
        point: The point; it must fit (see `check_fits`).
    """
    with ExitStack() as undo:
        for name, value in point.saved.items():
            _replace(model, name, value, undo)
        for name, update in point.updates.items():
            module, leaf = _owner(model, name)
            weight = getattr(module, leaf)
            if weight.dtype in (torch.float32, torch.float64):
                _replace(model, name, _folded(module, weight, update), undo)
            else:
                undo.callback(module.register_forward_hook(_side_branch(update, weight.device)).remove)
        yield


def check_fits(model: nn.Module, point: Adapter, base_name: str) -> None:
    """Raise unless every parameter of the point is one of the model's, in shape and content.

    Raises:
        ModelError: If parameters are missing, have other shapes, or base copies differ from the base.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    wanted = {name: _shape_in(model, name, update) for name, update in point.updates.items()}
    wanted |= {name: tuple(value.shape) for name, value in point.saved.items()}
    missing = sorted(wanted.keys() - parameters.keys())
    if missing:
        raise ModelError(
            f"{point.name} does not fit the base model {base_name}",
            expected=f"a base that has all {len(wanted)} parameters that the adapter changes",
            got=f"{len(missing)} of them are not there: {listed(missing)}",
            remedy=f"give the base that it was trained on (it names {point.config.base_model!r})",
        )
    different = [
        f"{name} {list(shape)} for {list(parameters[name].shape)}"
        for name, shape in wanted.items()
        if tuple(parameters[name].shape) != shape
    ]
    if different:
        raise ModelError(
            f"{point.name} does not fit the base model {base_name}",
            expected="updates in the shapes of the base's parameters",
            got=listed(different),
            remedy=f"give the base that it was trained on (it names {point.config.base_model!r})",
        )
    _check_copies(parameters, point, base_name)


def _check_copies(parameters: dict[str, nn.Parameter], point: Adapter, base_name: str) -> None:
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
    assert original is not None  # check_fits has found it
    new = nn.Parameter(value.detach().to(original.device, original.dtype), requires_grad=False)
    undo.callback(module._parameters.__setitem__, leaf, original)
    module._parameters[leaf] = new


def _folded(module: nn.Module, weight: torch.Tensor, update: Update) -> torch.Tensor:
    """`W_0 + dW`, computed in the weight's dtype, by one product of the concatenated factors."""
    up, down = (factor.to(weight.device) for factor in update.factors(dtype=weight.dtype))
    if isinstance(module, Conv1D):  # stored as [in, out]
        up, down = down.T, up.T
    return torch.addmm(weight.detach(), up, down)


def _shape_in(model: nn.Module, name: str, update: Update) -> tuple[int, ...]:
    """The shape that an update has in the storage order of the model's module."""
    try:
        module, _ = _owner(model, name)
    except AttributeError:
        return update.shape
    return update.shape[::-1] if isinstance(module, Conv1D) else update.shape


def _side_branch(update: Update, device: torch.device) -> Any:  # noqa: ANN401
    """A forward hook that adds `up(down(x))`, computed in float32; the sum is rounded once, as in PEFT."""
    up, down = (factor.to(device) for factor in update.factors())

    def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        if update.lookup:
            branch = functional.embedding(inputs[0], up) @ down
            branch = branch * getattr(module, "embed_scale", 1.0)  # Gemma's tables scale what they look up
        else:
            branch = functional.linear(functional.linear(inputs[0].float(), down), up)
        return (output + branch).to(output.dtype)  # bf16 + float32 is float32

    return hook
