"""Hidden states of chosen layers, taken from the forward pass that is made anyway."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from modeconn.errors import RunError


class HiddenStates:
    """Keeps the outputs of layers of the last forward pass, with their gradients.

    Args:
        module: A model of transformers.
        layers: "last", "all", or numbers from 0, negative ones from the end.

    Raises:
        RunError: If the model has no such layer.
    """

    def __init__(self, module: nn.Module, layers: str | Sequence[int]) -> None:
        stack = _stack(module)
        numbers: Sequence[int] = (-1,) if layers == "last" else range(len(stack)) if layers == "all" else _whole(layers)
        if not numbers or not all(-len(stack) <= number < len(stack) for number in numbers):
            raise RunError(
                "the hidden states cannot be compared",
                expected=f'layers to be "last", "all" or numbers from 0 to {len(stack) - 1}',
                got=repr(layers),
                remedy="name layers that the model has",
            )
        self._chosen = [stack[number] for number in numbers]
        self._outputs: dict[int, torch.Tensor] = {}
        for layer in self._chosen:
            layer.register_forward_hook(self._keep)

    def taken(self) -> list[torch.Tensor]:
        """The outputs `[B, L, D]` of the last forward pass, which are then forgotten."""
        found = [self._outputs[id(layer)] for layer in self._chosen]
        self._outputs = {}
        return found

    def _keep(self, layer: nn.Module, inputs: Any, output: Any) -> None:  # noqa: ANN401
        """The hook: a layer's output, or the first of several."""
        del inputs
        states = output if isinstance(output, torch.Tensor) else output[0]
        # Of convolutions [B, D, H, W] -> [B, H * W, D]: the places of an image are its positions.
        self._outputs[id(layer)] = states.flatten(2).transpose(1, 2) if states.ndim == 4 else states


def _stack(module: nn.Module) -> nn.ModuleList:
    """The model's layers; the decoder's of an encoder-decoder, through which all gradients go."""
    config: Any = getattr(module, "config", None)
    depth = getattr(config, "num_decoder_layers", None) or getattr(config, "num_hidden_layers", None)
    stacks = [part for part in module.modules() if isinstance(part, nn.ModuleList) and len(part) == depth]
    if not stacks:
        raise RunError(
            "the hidden states cannot be compared",
            expected="a model with a list of layers",
            got=type(module).__name__,
            remedy="give consistency_weight=0",
        )
    return stacks[-1]


def _whole(layers: object) -> list[int]:
    """Numbers of layers; none where it is anything else, or there are other things among them."""
    given = list(layers) if isinstance(layers, list | tuple | range) else []
    return given if all(isinstance(number, int) and not isinstance(number, bool) for number in given) else []
