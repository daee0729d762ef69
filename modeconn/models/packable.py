"""Whether a model can read rows without padding: tried out on a few tokens."""

import inspect
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from modeconn.models.family import IGNORED, Causal, Classifier, Family
from modeconn.models.image_classifier import ImageClassifier
from modeconn.models.offloaded import first_device
from modeconn.tasks.rows import Row

_KNOWN_LAYERS = {"full_attention", "sliding_attention"}
_LENGTHS = (7, 4, 4, 1)
_ANSWERS = ((2, 3, 1), (1,), (2,), (1,))  # tokens of the answers to each: several share their context
_MOST = {torch.float64: 1e-9, torch.float32: 1e-4}  # of the largest logit; half precision below
_MOST_OF_HALF = 3e-2


def with_packing(family: Family, module: nn.Module, *, wanted: bool | None = None) -> Family:
    """The family, reading rows without padding where that gives the same logits.

    A few rows of different lengths are read packed and one by one. What cannot be packed is padded: models with an
    attention of their own, encoder-decoders, heads of another form. Where the last layer cannot run at the scored
    positions only, it runs at all.

    Args:
        family: How the model is called.
        module: The model, in `eval()`.
        wanted: False leaves the padding; None takes it away where it can be.
    """
    if wanted is False or isinstance(family, ImageClassifier) or not isinstance(family, Causal | Classifier):
        return family
    if _sees_less(module):
        return family
    for packed in (replace(family, packed=True, lean=True), replace(family, packed=True)):
        if _agree(packed, family, module):
            return packed
    return family


def with_own_positions(family: Family, module: nn.Module) -> Family:
    """A decoder's family that leaves the positions to the model, where those from 0 are not the model's own.

    Args:
        family: How the model is called.
        module: The model, in `eval()`.
    """
    if not isinstance(family, Causal) or "position_ids" not in inspect.signature(module.forward).parameters:
        return family
    own, (row, *_) = replace(family, counts=True), _rows(module, causal=True)
    batch = family.collate([row], 0).to(first_device(module))
    with torch.inference_mode():
        counted, expected = (one.logits(module, batch).double() for one in (family, own))
    return family if _close(counted, expected, module) else own


def without_packing(family: Family) -> Family:
    """The same family, reading padded rows."""
    return replace(family, packed=False, lean=False) if isinstance(family, Causal | Classifier) else family


def with_all_positions(family: Family) -> Family:
    """The same family, with the last layer at all positions."""
    return replace(family, lean=False) if isinstance(family, Causal | Classifier) else family


def _sees_less(module: Any) -> bool:  # noqa: ANN401
    """Whether only a mask would say how far a layer sees, as with chunks: packed rows have no mask."""
    config = module.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    return getattr(config, "attention_chunk_size", None) is not None or not kinds <= _KNOWN_LAYERS


@torch.inference_mode()
def _agree(packed: Family, padded: Family, module: Any) -> bool:  # noqa: ANN401
    """Whether the logits of packed rows are those of rows alone."""
    try:
        rows = _rows(module, causal=isinstance(packed, Causal))
        device = first_device(module)
        batch = packed.collate(rows, 0).to(device)
        together = packed.logits(module, batch)[batch.targets != IGNORED].double()  # [S, C]
        alone = [padded.logits(module, padded.collate([row], 0).to(device)).double()[0] for row in rows]
    except Exception:  # whatever a model does that nobody thought of: it is read with padding then
        return False
    expected = torch.cat(alone)
    if not torch.isfinite(expected).all():
        return False
    return _close(together, expected, module)


def _close(found: torch.Tensor, expected: torch.Tensor, module: Any) -> bool:  # noqa: ANN401
    """Whether logits are equal but for the rounding of the model's dtype."""
    most = _MOST.get(module.dtype, _MOST_OF_HALF) * float(expected.abs().max())
    return bool((found - expected).abs().max() <= most)


def _rows(module: Any, *, causal: bool) -> list[Row]:  # noqa: ANN401
    """Rows of fixed tokens that repeat nowhere early; a decoder's with answers of several lengths."""
    tokens = torch.Generator().manual_seed(0)
    size = int(module.config.get_text_config().vocab_size)

    def drawn(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(size, (length,), generator=tokens).tolist())

    contexts = [drawn(length) for length in _LENGTHS]
    if causal:
        answers = enumerate(zip(contexts, _ANSWERS, strict=True))
        return [Row(context, drawn(length), n) for n, (context, lengths) in answers for length in lengths]
    pad = module.config.pad_token_id
    return [Row(tuple((t + 1) % size if t == pad else t for t in one), (0,), n) for n, one in enumerate(contexts)]
