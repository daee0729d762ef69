"""Models that read packed rows: decoders and classifiers, at the scored positions only."""

import inspect
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import nn

from modeconn.models.last_layer import last_layer_at
from modeconn.models.packed_attention import packed_attention
from modeconn.models.packed_rows import Packed, at_ends
from modeconn.models.replaced_forward import replaced_forward


def packed_logits(model: nn.Module, inputs: dict[str, torch.Tensor], packed: Packed) -> torch.Tensor:
    """The logits of a decoder at the scored positions, `[S, C]`; all layers run at all positions.

    Args:
        model: A causal model of transformers.
        inputs: From `continued`.
        packed: How the rows stand in them.
    """
    with packed_attention(model, packed.texts):
        if "logits_to_keep" in inspect.signature(model.forward).parameters:
            return model(**inputs, use_cache=False, logits_to_keep=packed.scored).logits[0]
        return model(**inputs, use_cache=False).logits[0, packed.scored]


def scored_logits(
    model: nn.Module, inputs: dict[str, torch.Tensor], packed: Packed, *, most: int
) -> Iterator[torch.Tensor]:
    """The same, `most` positions at a time, with the last layer at the scored positions only.

    Args:
        model: A causal model of transformers, which is its base model and a head.
        inputs: From `continued`.
        packed: How the rows stand in them.
        most: Positions of which logits are in memory together.

    Yields:
        `[s, C]` of the next positions.
    """
    base = _base(model)
    with packed_attention(model, packed.texts), last_layer_at(base, packed):
        found = base(**inputs, use_cache=False)
    states = _at(found.last_hidden_state, packed)  # [1, S, D]
    for piece in states.split(most, dim=1):
        with replaced_forward(base, partial(_given, type(found)(last_hidden_state=piece))):
            logits = model(input_ids=inputs["input_ids"][:, :1], use_cache=False).logits[0]
        yield logits


def packed_classes(
    model: Any, inputs: dict[str, torch.Tensor], packed: Packed, *, lean: bool = False  # noqa: ANN401
) -> torch.Tensor:  # fmt: skip
    """The logits of a sequence classifier, `[B, C]`: its head at each text's first position, a decoder's at the last.

    Args:
        model: A sequence classifier of transformers.
        inputs: From `ended`.
        packed: How the texts stand in them.
        lean: Whether the last layer runs at these positions only.
    """
    base: Any = _base(model)
    packed = at_ends(packed) if hasattr(model, "score") else packed
    with ExitStack() as stack:
        stack.enter_context(packed_attention(model, packed.texts))
        if lean:
            stack.enter_context(last_layer_at(base, packed))
        hidden = _at(base(**inputs).last_hidden_state, packed)[0]  # [B, D]
    return _head(model, base, hidden).to(packed.scored.device)  # on a device of its own, where the model is spread


def _head(model: Any, base: Any, hidden: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    """What a classifier makes of the positions that its head reads, `[B, D] -> [B, C]`."""
    if hasattr(model, "score"):
        return model.score(hidden)
    first = hidden[:, None]  # [B, 1, D]
    if getattr(base, "pooler", None) is not None:
        return model.classifier(model.dropout(base.pooler(first)))
    return model.classifier(first)


def _base(model: Any) -> nn.Module:  # noqa: ANN401
    """The model without its head."""
    return model.base_model


def _at(states: torch.Tensor, packed: Packed) -> torch.Tensor:
    """The scored positions, `[1, T, D]` -> `[1, S, D]`, on whatever device the last layer is."""
    return states[:, packed.scored.to(states.device)]


def _given(outputs: Any, *_: object, **__: object) -> Any:  # noqa: ANN401
    """Some outputs, whatever is asked: what is called then of a model is its head."""
    return outputs
