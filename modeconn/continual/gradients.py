"""Gradients as one vector: of a step, and of the loss on chosen rows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from modeconn.continual.run import Run
    from modeconn.models.encoded import EncodedTask


def gradient_of_step(weights: Sequence[nn.Parameter]) -> torch.Tensor:
    """The gradients that are there, `[P]`; 0 where a weight has none."""
    return torch.cat([(torch.zeros_like(one) if one.grad is None else one.grad).flatten() for one in weights])


def set_gradient(weights: Sequence[nn.Parameter], gradient: torch.Tensor) -> None:
    """Replace the gradients that are there; a weight that has none and would get 0 stays without.

    Args:
        weights: The weights.
        gradient: `[P]`.
    """
    for weight, piece in zip(weights, gradient.split([one.numel() for one in weights]), strict=True):
        if weight.grad is not None or bool(piece.any()):
            weight.grad = piece.view_as(weight).clone()


def mean_gradient(run: "Run", rows: "Sequence[tuple[EncodedTask, int]]") -> torch.Tensor:
    """The gradient of the mean loss a scored token over rows, without dropout, `[P]`.

    Gradients that the weights hold stay as they are.

    Args:
        run: Model and learner.
        rows: Each a split and a row's number.
    """
    weights = list(run.learner.weights.values())
    size, tokens = (
        run.settings.per_device_train_batch_size,
        sum(len(split.rows.rows[row].targets) for split, row in rows),
    )
    total = torch.zeros(sum(one.numel() for one in weights), device=run.model.device)
    with run.at({}):  # in `eval()`
        for first in range(0, len(rows), size):
            batch = run.batch(rows[first : first + size])
            with run.autocast():
                loss = run.losses(batch).sum() / tokens
            found = torch.autograd.grad(loss, weights, materialize_grads=True)
            total += torch.cat([one.flatten() for one in found])
    return total
