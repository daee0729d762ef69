"""Logits that are kept to be compared with later ones."""

from collections.abc import Sequence

import torch

StoredLogits = tuple[torch.Tensor, torch.Tensor | None]  # [A, K] float32; their classes [A, K] int32, None for all


def stored_logits(logits: torch.Tensor, num_logits: int | None) -> StoredLogits:
    """The largest logits of every position and their classes, on the CPU.

    Args:
        logits: `[A, C]`.
        num_logits: How many, K; None keeps all.
    """
    if num_logits is None or num_logits >= logits.shape[-1]:
        return logits.float().cpu().clone(), None
    values, classes = logits.float().topk(num_logits, dim=-1)
    return values.cpu(), classes.int().cpu()


def logit_distance(logits: torch.Tensor, stored: Sequence[StoredLogits]) -> torch.Tensor:
    """The mean squared difference of logits from stored ones, over positions and stored classes, `[]`.

    Args:
        logits: `[S, C]`, the positions of several rows one after the other, with gradients.
        stored: What `stored_logits` gave for each of the rows.
    """
    values = torch.cat([one for one, _ in stored]).to(logits.device)  # [S, K]
    kept = [classes for _, classes in stored if classes is not None]
    mine = logits.float() if not kept else logits.float().gather(1, torch.cat(kept).to(logits.device, torch.long))
    return (mine - values).square().mean()
