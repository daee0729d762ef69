"""The last layer of a decoder or encoder at the scored positions only.

What follows the last attention at a position is read by nothing but that position: of all others only keys and values
are needed. So the layer is run twice. The first pass ends at its attention, which keeps the keys and values of all
positions; the second is given the scored positions only, and attends to what was kept. What it gives is put back among
zeros, as the model after it may count positions. Nothing is known of the layer but that it asks transformers' attention
interface once, and treats positions alike otherwise.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from modeconn.errors import ModelError
from modeconn.models.packed_attention import KEYS, Keys, KeysTaken
from modeconn.models.packed_rows import Packed
from modeconn.models.replaced_forward import replaced_forward

_QUERIES = {"q_proj", "query", "q_lin"}


@contextmanager
def last_layer_at(model: nn.Module, packed: Packed) -> Iterator[None]:
    """A context in which the last layer gives zeros but for the scored positions; afterwards the model is what it was.

    Args:
        model: A model of transformers that reads a packed row.
        packed: The row, and its scored positions.

    Raises:
        ModelError: If the model has no list of layers.
    """
    layer, token = last_layer(model), KEYS.set(None)
    with ExitStack() as undo:
        undo.callback(KEYS.reset, token)
        undo.callback(layer.register_forward_pre_hook(partial(_at_scored, packed), with_kwargs=True).remove)
        undo.callback(layer.register_forward_hook(partial(_among_zeros, packed)).remove)
        yield


def last_layer(model: Any) -> nn.Module:  # noqa: ANN401
    """The last of a model's layers.

    Raises:
        ModelError: If there is no list of them.
    """
    layers = layers_of(model)
    if layers is None:
        raise ModelError(
            f"the layers of {type(model).__name__} were not found",
            expected=f"a list of {_num_layers(model)} modules",
            got="none",
            remedy="load the model with packed=False",
        )
    return layers[-1]


def layers_of(model: Any) -> nn.ModuleList | None:  # noqa: ANN401
    """A model's layers: the first list that has as many modules as the config counts layers; None without one."""
    count = _num_layers(model)
    lists = (one for one in model.modules() if isinstance(one, nn.ModuleList))
    return next((one for one in lists if len(one) == count), None)


def _num_layers(model: Any) -> int | None:  # noqa: ANN401
    """The layers that a model's config counts."""
    return getattr(model.config.get_text_config(), "num_hidden_layers", None)


def _at_scored(packed: Packed, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
    """Take a layer's keys and values at all positions, and leave it the scored ones of what it was given."""
    KEYS.set(Keys())
    with _without_queries(layer):
        try:
            layer.forward(*args, **kwargs)
        except KeysTaken:
            pass
        else:
            raise ModelError(
                f"{type(layer).__name__} has an attention of its own",
                expected="a layer that asks the attention interface of transformers",
                got="a layer that came to its end",
                remedy="load the model with packed=False",
            )
    return tuple(_cut(one, packed) for one in args), {name: _cut(one, packed) for name, one in kwargs.items()}


def _cut(value: Any, packed: Packed) -> Any:  # noqa: ANN401
    """The scored positions of what has all of them, `[1, T, ...]`; anything else as it is."""
    if isinstance(value, tuple):
        return tuple(_cut(one, packed) for one in value)
    if isinstance(value, torch.Tensor) and tuple(value.shape[:2]) == (1, packed.num_tokens):
        return value[:, packed.scored.to(value.device)]
    return value


def _among_zeros(packed: Packed, layer: nn.Module, args: Any, states: torch.Tensor) -> torch.Tensor:  # noqa: ANN401, ARG001
    """What a layer gives at the scored positions, `[1, S, D]`, among zeros, `[1, T, D]`."""
    whole = states.new_zeros(1, packed.num_tokens, states.shape[-1])
    return whole.index_copy(1, packed.scored.to(states.device), states)


@contextmanager
def _without_queries(layer: nn.Module) -> Iterator[None]:
    """A context in which a layer's queries are zeros, where they are a product of their own: nobody asks for them."""
    with ExitStack() as undo:
        for name, module in layer.named_modules():
            if name.rpartition(".")[2] in _QUERIES and isinstance(module, nn.Linear):
                undo.enter_context(replaced_forward(module, partial(_zeros, module.out_features)))
        yield


def _zeros(width: int, states: torch.Tensor) -> torch.Tensor:
    """Zeros in the place of a product, `[..., D]` -> `[..., width]`, that take no memory."""
    return states.new_zeros(()).expand(*states.shape[:-1], width)
