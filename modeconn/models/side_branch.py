"""Updates that run beside a module, `y + dW x`, where its weight stays as it is."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from modeconn.adapters.update import Update
from modeconn.models.offloaded import device_of
from modeconn.models.quantised import unpacked

Branch = Callable[[torch.Tensor], torch.Tensor]  # what goes into a module -> what is added to its output


def side_branch(module: nn.Module, weight: torch.Tensor, update: Update, *, transposed: bool) -> Branch:
    """What an update adds to a module's output, `dW x` in float32 at least, or the bias itself.

    Args:
        module: A linear layer or a table of embeddings.
        weight: Its weight or bias.
        update: The update of that.
        transposed: Whether the module stores its matrix as `[in, out]`.
    """
    device, dtype = device_of(module, weight), _precise(weight)
    if weight.ndim == 1:
        bias = update.dense(weight.detach().to(dtype))  # biases are never quantised
        return lambda _: bias
    if update.low_rank:
        up, down = (factor.to(device) for factor in update.factors(dtype=dtype))  # [rows, R], [R, columns]
    else:
        change = update.dense(unpacked(module, "weight").to(dtype), transposed=transposed)
        up, down = (change.T if isinstance(module, Conv1D) else change), None

    def branch(read: torch.Tensor) -> torch.Tensor:
        read = read.to(device)  # of a spread model, what is read may come from another one
        if isinstance(module, nn.Embedding):
            found = functional.embedding(read, up)
            found = found if down is None else found @ down
            return found * getattr(module, "embed_scale", 1.0)  # Gemma's tables scale what they look up
        read = read.to(dtype)
        return functional.linear(read if down is None else functional.linear(read, down), up)

    return branch


def _precise(weight: torch.Tensor) -> torch.dtype:
    """The dtype of what runs beside a weight: float64 beside float64, float32 beside all others."""
    return torch.float64 if weight.dtype == torch.float64 else torch.float32


def adding(branches: Sequence[Branch]) -> Any:  # noqa: ANN401
    """A forward hook that adds branches; the sum is rounded once, as in PEFT."""

    def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
        total = output
        for branch in branches:
            total = total + branch(inputs[0])  # bf16 + float32 is float32
        return total.to(output.dtype)

    return hook
