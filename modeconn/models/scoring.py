"""Losses of a split's rows, batch by batch."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from modeconn.models.batch_room import Room
from modeconn.models.encoded import Batch, EncodedTask
from modeconn.models.family import score_batch
from modeconn.models.halving import in_halves
from modeconn.models.matmul_precision import products
from modeconn.models.shares import RowScores, Share, alone

if TYPE_CHECKING:
    from modeconn.models.adapter_model import AdapterModel

Scored = tuple[torch.Tensor, torch.Tensor]  # `[..., B]` losses in nats, `[..., B]` bool


@torch.inference_mode()
def score_split(model: "AdapterModel", module: nn.Module, encoded: EncodedTask, *, share: Share = alone) -> RowScores:
    """Loss and correctness of the rows that the batches hold.

    Args:
        model: Family, padding and device.
        module: Any module of this architecture.
        encoded: The split.
        share: Who scores which of the batches, which stay what they are.

    Returns:
        `[R]` float64 losses in nats and `[R]` floats in {0, 1}, in the order of the split's rows; NaN for rows that no
        batch holds.

    Raises:
        ModelError: If the memory is too small for a single row.
    """
    score = partial(score_batch, model.family, module, **answerable(model, encoded))
    with products(model, module):
        room = scoring_room(model, module, encoded, score)
        loss, correct = score_batches(model, encoded, score, share=share, room=room)
    return loss, correct


def answerable(model: "AdapterModel", encoded: EncodedTask) -> dict[str, torch.Tensor | None]:
    """The classes that may be answered and the tokens that may be the answer, as `score_batch` takes them."""
    given = {"allowed": encoded.allowed, "choices": encoded.rows.label_tokens}
    return {name: None if one is None else torch.tensor(one, device=model.device) for name, one in given.items()}


def scoring_room(
    model: "AdapterModel", module: nn.Module, encoded: EncodedTask, score: Callable[[Batch], Scored]
) -> Room:
    """The room for a split's batches; under a limit the longest row is scored once to learn what a token takes."""
    return model.memory.room((encoded.task, encoded.split), module, partial(_probed, model, encoded, score))


def score_batches(
    model: "AdapterModel",
    encoded: EncodedTask,
    score: Callable[[Batch], Scored],
    *,
    share: Share,
    room: Room,
    num_points: int = 1,
) -> np.ndarray:
    """Loss and correctness of the rows that the batches hold, `[2, ..., R]` float64; NaN for rows that none holds.

    Args:
        model: Family, padding and device.
        encoded: The split.
        score: A batch on the device -> loss and correctness of its rows, `[..., B]`.
        share: Who scores which of the batches.
        room: The room for a batch; what does not fit is taken in halves.
        num_points: How many points a batch is read for together.
    """
    rows = encoded.rows.rows

    def scored(batch: tuple[Batch, Sequence[int]]) -> np.ndarray:
        whole = batch[0]
        part = partial(_part, model, encoded, whole)

        def read(some: Sequence[int]) -> Scored:
            own = part(some)
            if own is whole and num_points == 1:
                return model.sweep.score(score, whole, own.to(model.device))
            return score(own.to(model.device))

        halves = in_halves(
            read,
            batch[1],
            lambda row: model.family.length(rows[row]),
            room=room,
            size=lambda some: num_points * part(some).num_tokens,
        )
        return np.stack([torch.cat(one, dim=-1).double().cpu().numpy() for one in zip(*halves, strict=True)])

    several = np.concatenate(share(list(zip(encoded.batches, _numbers(encoded), strict=True)), scored), axis=-1)
    found = np.full((*several.shape[:-1], len(rows)), np.nan)
    found[..., np.asarray(encoded.order)] = several
    return found


def _numbers(encoded: EncodedTask) -> list[Sequence[int]]:
    """The numbers of the rows in every batch."""
    ends = accumulate((len(batch.targets) for batch in encoded.batches), initial=0)
    return [encoded.order[begin:end] for begin, end in pairwise(ends)]


def _part(model: "AdapterModel", encoded: EncodedTask, whole: Batch, rows: Sequence[int]) -> Batch:
    """Some rows of a batch as a batch; the whole one is there already."""
    if len(rows) == len(whole.targets):
        return whole
    return model.family.collate([encoded.rows.rows[row] for row in rows], model.pad_id)


def _probed(model: "AdapterModel", encoded: EncodedTask, score: Callable[[Batch], Scored]) -> int:
    """Score the first row, which is the longest, and say how many tokens it has."""
    batch = model.family.collate([encoded.rows.rows[encoded.order[0]]], model.pad_id)
    score(batch.to(model.device))
    return batch.num_tokens
