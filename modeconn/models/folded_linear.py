"""Linear layers at a fixed point while something else is trained: folded one at a time, and forgotten."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from modeconn.adapters.update import Update
from modeconn.models.quantised import is_quantised


def take_turns(model: nn.Module, updates: Mapping[str, Update], undo: ExitStack) -> dict[str, Update]:
    """Put low-rank updates of linear layers into a model, such that one folded weight is in memory at a time.

    A fold that stays until the backward pass is over would cost a copy of every adapted weight. Here `W + dW` is made
    in the forward pass of its layer, and again in the backward pass, where `dx = dy (W + dW)` is all that needs it.

    Args:
        model: The model.
        updates: Parameter name -> update.
        undo: Puts the layers back as they were.

    Returns:
        The updates that are left: of other modules, without factors, or of weights that nothing is folded into.
    """
    left = {}
    for name, update in updates.items():
        path, _, leaf = name.rpartition(".")
        module = model.get_submodule(path)
        if leaf == "weight" and update.low_rank and _is_plain(module):
            assert isinstance(module, nn.Linear | Conv1D)
            setattr(module, "forward", _forward(module, update))  # noqa: B010  (an attribute in place of a method)
            undo.callback(delattr, module, "forward")  # the class's own
        else:
            left[name] = update
    return left


def _is_plain(module: nn.Module) -> bool:
    """Whether a module is a linear layer as torch or transformers makes it, of a weight that can be folded into."""
    if type(module).forward not in (nn.Linear.forward, Conv1D.forward) or "forward" in vars(module):
        return False
    weight: Any = module.weight
    return weight.dtype in (torch.float32, torch.float64) and not is_quantised(weight)


def _forward(module: nn.Linear | Conv1D, update: Update) -> Callable[[torch.Tensor], torch.Tensor]:
    """The module's function with an update of its weight."""

    def forward(read: torch.Tensor) -> torch.Tensor:
        weight = module.weight.detach()
        weight = weight.T if isinstance(module, Conv1D) else weight  # [out, in]
        return _FoldedLinear.apply(read, weight, update, module.bias)  # type: ignore[return-value]

    return forward


class _FoldedLinear(torch.autograd.Function):
    """`y = x (W + dW)^T + b`, of which only x has a gradient."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,  # noqa: ANN401
        read: torch.Tensor,
        weight: torch.Tensor,
        update: Update,
        bias: torch.Tensor | None,
    ) -> torch.Tensor:
        """`[..., in] -> [..., out]`."""
        ctx.save_for_backward(weight)
        ctx.update, ctx.read_dtype = update, read.dtype
        return functional.linear(read, _folded(weight, update), bias)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:  # type: ignore[override]  # noqa: ANN401
        """`[..., out] -> [..., in]`; in the dtype that autocast computed in."""
        (weight,) = ctx.saved_tensors
        folded = _folded(weight, ctx.update).to(gradient.dtype)
        return (gradient @ folded).to(ctx.read_dtype), None, None, None


def _folded(weight: torch.Tensor, update: Update) -> torch.Tensor:
    """`W + dW`, `[out, in]`, in the weight's dtype; part by part, which needs no copy of the factors."""
    folded: torch.Tensor | None = None
    with torch.autocast(weight.device.type, enabled=False):  # it would round before the sum
        for coefficient, part in zip(update.coefficients, update.low_rank, strict=True):
            pair = [factor.to(weight.device, weight.dtype) for factor in (part.up, part.down)]
            alpha = coefficient * part.scaling
            folded = torch.addmm(weight, *pair, alpha=alpha) if folded is None else folded.addmm_(*pair, alpha=alpha)
    assert folded is not None  # an update has a part
    return folded
