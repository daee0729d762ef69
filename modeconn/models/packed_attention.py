"""Attention within the texts of a packed row, by transformers' own interface.

Padding costs as much as text, and so does a mask over a row of many texts. Here the long row is cut at the texts' ends,
and texts of one form are taken together; rows are sorted by length, so there are few forms in a batch.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from modeconn.errors import ModelError
from modeconn.models.packed_rows import Text
from modeconn.models.plain_attention import plain_attention

NAME = "modeconn_packed"
_KNOWN = {  # what changes nothing here
    "position_ids", "use_cache", "output_attentions", "output_router_logits", "cache_position", "is_causal",
    "sliding_window",
}  # fmt: skip
_ASKS = "warn_if_padding_and_no_attention_mask"  # transformers' question whether a mask was forgotten
_TEXTS: ContextVar[tuple[Text, ...]] = ContextVar("packed_texts")


class KeysTaken(Exception):
    """A layer has come to its attention, and its keys and values are kept."""


@dataclass
class Keys:
    """Keys and values of a layer at all positions, `[1, K, T, d]` each; None before it has come to its attention."""

    found: tuple[torch.Tensor, torch.Tensor] | None = None


KEYS: ContextVar[Keys | None] = ContextVar("packed_keys", default=None)


@contextmanager
def packed_attention(model: nn.Module, texts: tuple[Text, ...]) -> Iterator[None]:
    """A context in which a model attends within the texts of a packed row; afterwards it is what it was.

    Args:
        model: A model of transformers.
        texts: The texts of the row.
    """
    configs = {id(one): one for one in _configs(model)}
    asking = [module for module in model.modules() if hasattr(module, _ASKS)]
    kept = {key: one._attn_implementation for key, one in configs.items()}
    token = _TEXTS.set(texts)
    try:
        for config in configs.values():
            config._attn_implementation = NAME
        for module in asking:
            setattr(module, _ASKS, _no_mask)
        yield
    finally:
        for module in asking:
            vars(module).pop(_ASKS, None)
        _TEXTS.reset(token)
        for key, config in configs.items():
            config._attn_implementation = kept[key]


def recomputed(model: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """The contexts of a layer whose forward pass is made again in the backward pass: the second attends as the first.

    For `context_fn` of `torch.utils.checkpoint.checkpoint`.

    Args:
        model: The model that the layer belongs to.
    """
    texts = _TEXTS.get(None)
    return nullcontext(), nullcontext() if texts is None else packed_attention(model, texts)


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
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **others: Any,  # noqa: ANN401
) -> tuple[torch.Tensor, None]:
    """Attention within the texts of a packed row, as transformers calls it.

    Args:
        module: The attention layer; `is_causal` says whether texts are read from left to right only.
        query: `[1, H, T, d]`; `[1, H, S, d]` at the scored positions of a layer whose keys were taken before.
        key: `[1, K, T, d]`, K a divisor of H.
        value: `[1, K, T, d]`.
        attention_mask: None: who may see whom is decided by the texts.
        dropout: Of the attention weights.
        scaling: Of the products; `d**-0.5` by default.
        sliding_window: How far back a position sees.
        is_causal: Instead of the module's own.
        softcap: What scores are capped at.
        s_aux: A score of each head that takes weight and gives nothing, `[H]`.
        others: What transformers passes on; anything that changes the result is refused.

    Returns:
        `[1, T, H, d]` or `[1, S, H, d]`, and no attention weights.

    Raises:
        ModelError: If the layer wants something that is not known here.
        KeysTaken: In a pass that is there for keys and values only.
    """
    strange = [name for name, one in others.items() if one is not None and name not in _KNOWN]
    if attention_mask is not None or strange:
        raise ModelError(
            f"{type(module).__name__} cannot read packed rows",
            expected="attention that the texts decide",
            got=", ".join(strange) or "a mask",
            remedy="load the model with packed=False",
        )
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    texts, keys = _TEXTS.get(), KEYS.get()
    if keys is None:
        texts = [replace(text, start=0, num_scored=text.length) for text in texts]
    elif keys.found is None:
        keys.found = key, value
        raise KeysTaken
    else:
        key, value = keys.found
        KEYS.set(None)
    heads = _Heads(dropout, scaling, sliding_window, causal=causal, softcap=softcap, sinks=s_aux)
    pieces, first, begin = [], 0, 0
    for text, group in groupby(texts):
        count = len(list(group))
        q = _texts(query[:, :, first : (first := first + count * text.num_scored)], count)  # [n, H, A, d]
        part = slice(begin, begin := begin + count * text.length)
        found = heads.of_texts(text, q, _texts(key[:, :, part], count), _texts(value[:, :, part], count))
        pieces.append(found.transpose(1, 2).flatten(0, 1))  # [n A, H, d]
    return torch.cat(pieces)[None], None


@dataclass(frozen=True)
class _Heads:
    """What the heads of a layer do with texts of one form."""

    dropout: float
    scaling: float | None
    window: int | None
    causal: bool
    softcap: float | None
    sinks: torch.Tensor | None

    def of_texts(self, text: Text, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """`[n, H, A, d]` of queries at A positions, and `[n, K, L, d]` of keys -> `[n, H, A, d]`."""
        found, end = [], text.start + text.num_scored
        for rows, num_keys in (
            (range(text.start, min(end, text.shared)), text.shared),
            (range(max(text.start, text.shared), end), text.length),
        ):
            if rows:
                own = q[:, :, rows.start - text.start : rows.stop - text.start]
                found.append(self._of_rows(text, rows, own, k[:, :, :num_keys], v[:, :, :num_keys]))
        return found[0] if len(found) == 1 else torch.cat(found, dim=2)

    def _of_rows(self, text: Text, rows: range, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """The same of some of the positions, and the keys that they may see."""
        mask = self._mask(text, rows, k.shape[2])
        square = len(rows) == k.shape[2]
        if self.softcap is not None or self.sinks is not None:
            if mask is None and self.causal and square:
                mask = torch.ones(len(rows), len(rows), dtype=torch.bool).tril()
            return plain_attention(
                q, k, v, seen=mask, scaling=q.shape[-1] ** -0.5 if self.scaling is None else self.scaling,
                dropout=self.dropout, softcap=self.softcap, sinks=self.sinks,
            )  # fmt: skip
        found = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=None if mask is None else mask.to(q.device), dropout_p=self.dropout,
            is_causal=self.causal and mask is None and square, scale=self.scaling,
            enable_gqa=q.shape[1] != k.shape[1],
        )  # fmt: skip
        return _with_nan(found, q.detach())

    def _mask(self, text: Text, rows: range, num_keys: int) -> torch.Tensor | None:
        """`[rows, keys]`: who sees whom; None where torch needs no mask for it."""
        whole = self.window is None or text.length <= self.window
        if whole and not self.causal:
            return None
        branched = num_keys > text.shared
        if whole and not branched and (len(rows) == num_keys or rows.start == num_keys - 1):
            return None
        places, owners = torch.tensor(text.places()[:num_keys]), torch.tensor(text.owners()[:num_keys])
        asking = torch.tensor(rows)
        distance = places[asking][:, None] - places[None]
        seen = distance >= 0 if self.causal else torch.ones_like(distance, dtype=torch.bool)
        if self.window is not None:
            seen &= distance.abs() < self.window
        return seen & ((owners == 0)[None] | (owners[asking][:, None] == owners[None]))


def _with_nan(found: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """NaN where a query has one, `[n, H, A, d]`: without a mask torch turns such queries into zeros."""
    wide = torch.float32 if q.dtype == torch.float16 else q.dtype  # the sum of finite numbers must be finite
    marks = (q.sum(-1, keepdim=True, dtype=wide) * 0).to(found.dtype)  # [n, H, A, 1]
    return found + marks if torch.is_grad_enabled() else found.add_(marks)


def _texts(states: torch.Tensor, count: int) -> torch.Tensor:
    """Texts of one length, `[1, H, n L, d]` -> `[n, H, L, d]`."""
    _, heads, total, width = states.shape
    return states.view(heads, count, total // count, width).transpose(0, 1)


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
