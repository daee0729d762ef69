"""Losses of a split's rows, batch by batch."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from modeconn.models.encoded import Batch, EncodedTask
from modeconn.models.family import score_batch
from modeconn.models.halving import in_halves
from modeconn.models.matmul_precision import products

if TYPE_CHECKING:
    from modeconn.models.adapter_model import AdapterModel

_Scored = tuple[torch.Tensor, torch.Tensor]


@torch.inference_mode()
def score_split(model: "AdapterModel", module: nn.Module, encoded: EncodedTask) -> tuple[np.ndarray, np.ndarray]:
    """Loss and correctness of the rows that the batches hold.

    Args:
        model: Family, padding and device.
        module: Any module of this architecture.
        encoded: The split.

    Returns:
        `[R]` float64 losses in nats and `[R]` floats in {0, 1}, in the order of the split's rows; NaN for rows that no
        batch holds.

    Raises:
        ModelError: If the memory is too small for a single row.
    """
    allowed, choices = (
        None if tokens is None else torch.tensor(tokens, device=model.device)
        for tokens in (encoded.allowed, encoded.rows.label_tokens)
    )
    score = partial(score_batch, model.family, module, allowed=allowed, choices=choices)
    rows, begin, scored = encoded.rows.rows, 0, []
    with products(model, module):
        room = model.memory.room((encoded.task, encoded.split), module, partial(_probed, model, encoded, score))
        for whole in encoded.batches:
            numbers = encoded.order[begin : (begin := begin + len(whole.targets))]
            part = partial(_part, model, encoded, whole)
            scored += in_halves(
                lambda some, part=part: score(part(some).to(model.device)),
                numbers,
                lambda row: model.family.length(rows[row]),
                room=room,
                size=lambda some, part=part: part(some).num_tokens,
            )
    order = np.asarray(encoded.order)
    loss, correct = (np.full(len(rows), np.nan) for _ in range(2))
    loss[order] = torch.cat([pair[0] for pair in scored]).double().cpu().numpy()
    correct[order] = torch.cat([pair[1] for pair in scored]).double().cpu().numpy()
    return loss, correct


def _part(model: "AdapterModel", encoded: EncodedTask, whole: Batch, rows: Sequence[int]) -> Batch:
    """Some rows of a batch as a batch; the whole one is there already."""
    if len(rows) == len(whole.targets):
        return whole
    return model.family.collate([encoded.rows.rows[row] for row in rows], model.pad_id)


def _probed(model: "AdapterModel", encoded: EncodedTask, score: Callable[[Batch], _Scored]) -> int:
    """Score the first row, which is the longest, and say how many tokens it has."""
    batch = model.family.collate([encoded.rows.rows[encoded.order[0]]], model.pad_id)
    score(batch.to(model.device))
    return batch.num_tokens
