"""Likelihoods from logits that come in pieces: no more than a piece is in memory."""

from collections.abc import Iterable

import torch
from torch.nn import functional

MOST_LOGITS = 2**23  # in a piece: 32 MiB of float32


def likelihoods(
    pieces: Iterable[torch.Tensor],
    places: torch.Tensor,
    targets: torch.Tensor,
    *,
    allowed: torch.Tensor | None = None,
    choices: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The negative log-likelihood of targets, and whether they are the likeliest tokens.

    Args:
        pieces: Logits of consecutive positions, `[s, C]` each.
        places: For every target, `[...]`, the position whose logits tell its likelihood.
        targets: The targets, `[...]`.
        allowed: Classes that may be answered, or None for all; the others get no probability.
        choices: Tokens that may be the answer, or None for all; the likelihood is that of the whole vocabulary.

    Returns:
        Nats, `[...]` float32 (float64 for float64 logits), and `[...]` bool.
    """
    loss, right, begin = None, torch.zeros_like(targets, dtype=torch.bool), 0
    for piece in pieces:
        logits = _over_allowed(piece if piece.dtype == torch.float64 else piece.float(), allowed)
        likeliest = logits.argmax(-1) if choices is None else choices[logits[:, choices].argmax(-1)]  # [s]
        here = (places - begin).clamp(0, len(logits) - 1)
        inside = (places >= begin) & (places < begin + len(logits))
        found = -functional.log_softmax(logits, dim=-1)[here, targets]
        loss = found if loss is None else torch.where(inside, found, loss)
        right = torch.where(inside, likeliest[here] == targets, right)
        begin += len(logits)
    assert loss is not None  # there is a piece
    return loss, right


def in_pieces(logits: torch.Tensor) -> Iterable[torch.Tensor]:
    """Logits `[S, C]` as pieces, of which one at a time is computed with in float32."""
    return logits.split(most_positions(logits.shape[-1]))


def most_positions(num_classes: int) -> int:
    """Positions in a piece."""
    return max(1, MOST_LOGITS // num_classes)


def _over_allowed(logits: torch.Tensor, allowed: torch.Tensor | None) -> torch.Tensor:
    """Logits `[s, C]` with -inf for all classes but the allowed ones."""
    if allowed is None:
        return logits
    barred = torch.ones(logits.shape[-1], dtype=torch.bool, device=logits.device)
    barred[allowed] = False
    return logits.masked_fill(barred, -torch.inf)
