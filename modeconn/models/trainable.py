"""Putting a point into a model such that gradients reach its tensors."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from modeconn.adapters.adapter import Adapter
from modeconn.errors import ModelError, listed
from modeconn.models.folded_linear import take_turns
from modeconn.models.placing import placed


@dataclass(frozen=True, eq=False)
class Branch:
    """Low-rank factors that gradients reach: `y + up (down x)`; of an embedding `y + up[ids] down`.

    Attributes:
        up: `[rows, r]`.
        down: `[r, columns]`, any scaling folded in.
    """

    up: torch.Tensor
    down: torch.Tensor


@dataclass(frozen=True, eq=False)
class Trainable:
    """A point as a sum: what is fixed, and what gradients reach.

    Attributes:
        fixed: A point that is folded into the weights, or None.
        branches: Parameter name -> factors on top of it.
        saved: Parameter name -> the tensor in its place.
    """

    fixed: Adapter | None
    branches: Mapping[str, Branch]
    saved: Mapping[str, torch.Tensor] = field(default_factory=dict)


@contextmanager
def placed_trainable(model: nn.Module, point: Trainable) -> Iterator[None]:
    """A context in which the model is the function of a point with gradients; afterwards it is what it was.

    The fixed part costs two products of small factors a module, and the memory of one folded weight (see
    `folded_linear`); gradients are formed for the branches and saved tensors only, never for a dense weight.

    Args:
        model: The base model.
        point: The point; its tensors lie on the model's device, whatever devices it is spread over.

    Raises:
        ModelError: If a branch belongs to a module that cannot take one.
    """
    with ExitStack() as undo:
        if point.fixed is not None:
            left = take_turns(model, point.fixed.updates, undo)
            undo.enter_context(placed(model, replace(point.fixed, updates=left)))
        for name, branch in point.branches.items():
            module = model.get_submodule(name.rpartition(".")[0])
            if not isinstance(module, nn.Linear | nn.Embedding | Conv1D):
                raise ModelError(
                    f"gradients cannot reach an update of {name}",
                    expected="a Linear, Conv1D or Embedding module",
                    got=type(module).__name__,
                    remedy="fit adapters of such modules only",
                )
            undo.callback(module.register_forward_hook(_hook(branch)).remove)
        for name, value in point.saved.items():
            path, _, leaf = name.rpartition(".")
            module = model.get_submodule(path)
            if leaf not in module._parameters:
                raise ModelError(
                    f"{name} is not a parameter of the model",
                    expected=listed(module._parameters),
                    got=leaf,
                    remedy="give the base that the points were trained on",
                )
            original: Any = module._parameters[leaf]
            undo.callback(module._parameters.__setitem__, leaf, original)
            here = value.to(original.device, original.dtype)  # not a leaf of the graph
            module._parameters[leaf] = here  # type: ignore[assignment]
        yield


def _hook(branch: Branch) -> Any:  # noqa: ANN401
    """A forward hook that adds the branch."""

    def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        # Where the model is spread over devices, the output lies where the module computes.
        read, up, down = (one.to(output.device) for one in (inputs[0], branch.up, branch.down))
        if isinstance(module, nn.Embedding):
            added = functional.embedding(read, up) @ down
            added = added * getattr(module, "embed_scale", 1.0)
        else:
            read = read if torch.is_autocast_enabled(read.device.type) else read.to(down.dtype)
            added = functional.linear(functional.linear(read, down), up)
        return output + added.to(output.dtype)

    return hook
