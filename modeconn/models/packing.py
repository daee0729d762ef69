"""Rows without padding: one after the other in one long row, each attending to itself only.

Padding costs as much as text, and so does a mask over a row of many texts. Here an attention function of transformers'
own interface cuts the long row at the texts' ends, and takes texts of one length together; rows are sorted by length,
so there are few lengths in a batch.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import groupby
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from modeconn.errors import ModelError

NAME = "modeconn_packed"
_LENGTHS: ContextVar[tuple[int, ...]] = ContextVar("packed_lengths")
_KNOWN = {"position_ids", "use_cache", "output_attentions", "cache_position", "is_causal", "sliding_window"}


def pack(rows: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    """Texts as one row: `input_ids` and `position_ids`, `[1, T]` each; positions begin anew with every text."""
    return {
        "input_ids": torch.tensor([[token for row in rows for token in row]]),
        "position_ids": torch.cat([torch.arange(len(row)) for row in rows])[None],
    }


def unpack(inputs: dict[str, torch.Tensor], lengths: tuple[int, ...], *, left: bool) -> dict[str, torch.Tensor]:
    """Packed rows as padded ones: `input_ids` and `attention_mask`, `[B, L]` each.

    Args:
        inputs: From `pack`.
        lengths: The number of tokens of every text.
        left: Whether the padding stands on the left.
    """
    side = "left" if left else "right"
    rows = list(inputs["input_ids"][0].split(list(lengths)))
    masks = [torch.ones_like(row) for row in rows]
    padded = [pad_sequence(one, batch_first=True, padding_side=side) for one in (rows, masks)]
    return {"input_ids": padded[0], "attention_mask": padded[1]}


@contextmanager
def packed_attention(model: nn.Module, lengths: tuple[int, ...]) -> Iterator[None]:
    """A context in which a model attends within the texts of a packed row; afterwards it is what it was.

    Args:
        model: A model of transformers.
        lengths: The number of tokens of every text.
    """
    configs = {id(one): one for one in _configs(model)}
    kept = {key: one._attn_implementation for key, one in configs.items()}
    token = _LENGTHS.set(lengths)
    try:
        for config in configs.values():
            config._attn_implementation = NAME
        yield
    finally:
        _LENGTHS.reset(token)
        for key, config in configs.items():
            config._attn_implementation = kept[key]


def packed_logits(
    model: nn.Module, inputs: dict[str, torch.Tensor], lengths: tuple[int, ...], scored: torch.Tensor
) -> torch.Tensor:
    """The logits of a decoder at scored positions among the last ones of every text.

    Args:
        model: A causal model of transformers.
        inputs: From `pack`.
        lengths: The number of tokens of every text.
        scored: `[B, A]`, which of each text's last A positions are wanted: all others are not computed where the model
            takes `logits_to_keep`.

    Returns:
        `[B, A, C]`, zeros where nothing was wanted.
    """
    ends = torch.tensor(lengths, device=scored.device).cumsum(0)  # [B]
    positions = torch.arange(-scored.shape[1], 0, device=scored.device)[None] + ends[:, None]  # [B, A], in the row
    wanted = positions[scored]  # [S]
    with packed_attention(model, lengths):
        if "logits_to_keep" in inspect.signature(model.forward).parameters:
            found = model(**inputs, use_cache=False, logits_to_keep=wanted).logits[0]  # [S, C]
        else:
            found = model(**inputs, use_cache=False).logits[0, wanted]
    if scored.all():
        return found.view(*scored.shape, -1)
    return found.new_zeros(*scored.shape, found.shape[-1]).masked_scatter(scored[..., None], found)


def packed_classes(model: Any, inputs: dict[str, torch.Tensor], lengths: tuple[int, ...]) -> torch.Tensor:  # noqa: ANN401
    """The logits of a sequence classifier, `[B, C]`: its head at each text's first position, a decoder's at the last.

    Args:
        model: A sequence classifier of transformers.
        inputs: From `pack`.
        lengths: The number of tokens of every text.
    """
    base = model.base_model
    with packed_attention(model, lengths):
        hidden = base(**inputs).last_hidden_state[0]  # [T, D]
    ends = torch.tensor(lengths, device=hidden.device).cumsum(0)
    if hasattr(model, "score"):
        return model.score(hidden[ends - 1])
    first = hidden[ends - torch.tensor(lengths, device=hidden.device)][:, None]  # [B, 1, D]
    if getattr(base, "pooler", None) is not None:
        return model.classifier(model.dropout(base.pooler(first)))
    return model.classifier(first)


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    **others: Any,  # noqa: ANN401
) -> tuple[torch.Tensor, None]:
    """Attention within the texts of a packed row, as transformers calls it.

    Args:
        module: The attention layer; `is_causal` says whether texts are read from left to right only.
        query: `[1, H, T, d]`.
        key: `[1, K, T, d]`, K a divisor of H.
        value: `[1, K, T, d]`.
        attention_mask: None: who may see whom is decided by the texts' lengths.
        dropout: Of the attention weights.
        scaling: Of the products; `d**-0.5` by default.
        sliding_window: How far back a position sees.
        is_causal: Instead of the module's own.
        others: What transformers passes on; anything that changes the result is refused.

    Returns:
        `[1, T, H, d]`, and no attention weights.

    Raises:
        ModelError: If the layer wants something that is not known here.
    """
    strange = [name for name, one in others.items() if one is not None and name not in _KNOWN]
    if attention_mask is not None or strange:
        raise ModelError(
            f"{type(module).__name__} cannot read packed rows",
            expected="attention that the texts' lengths decide",
            got=", ".join(strange) or "a mask",
            remedy="load the model with packed=False",
        )
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    pieces, first = [], 0
    for length, group in groupby(_LENGTHS.get()):
        count = len(list(group))
        part = slice(first, first := first + count * length)
        q, k, v = (_texts(one[:, :, part], count) for one in (query, key, value))  # [n, H, L, d]
        window = _window(length, sliding_window, causal=causal, like=q)
        found = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=window, dropout_p=dropout, is_causal=causal and window is None, scale=scaling,
            enable_gqa=q.shape[1] != k.shape[1],
        )  # fmt: skip
        found = found + (q.detach() * 0).sum(-1, keepdim=True)  # without a mask torch turns NaN queries into zeros
        pieces.append(found.transpose(1, 2).reshape(count * length, *_heads(query)))  # [n L, H, d]
    return torch.cat(pieces)[None], None


def _heads(query: torch.Tensor) -> tuple[int, int]:
    """The number of heads and their width."""
    return query.shape[1], query.shape[3]


def _texts(states: torch.Tensor, count: int) -> torch.Tensor:
    """Texts of one length, `[1, H, n L, d]` -> `[n, H, L, d]`."""
    _, heads, total, width = states.shape
    return states.view(heads, count, total // count, width).transpose(0, 1)


def _window(length: int, window: int | None, *, causal: bool, like: torch.Tensor) -> torch.Tensor | None:
    """`[L, L]`: who sees whom within a window; None where the window holds the text."""
    if window is None or length <= window:
        return None
    distance = torch.arange(length, device=like.device)[:, None] - torch.arange(length, device=like.device)[None]
    return (distance >= 0) & (distance < window) if causal else distance.abs() < window


def _no_mask(*_: Any, **__: Any) -> None:  # noqa: ANN401
    """No mask: `attend` cuts the row itself."""


def _configs(model: nn.Module) -> Iterator[Any]:
    """The settings that a model's layers read, each once or more often."""
    for module in model.modules():
        config = getattr(module, "config", None)
        if config is not None and hasattr(config, "_attn_implementation"):
            yield config


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, _no_mask)
