"""Attention by its equation, for heads that torch's fused function does not know: capped scores, and sinks."""

import torch
from torch.nn import functional


def plain_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    seen: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """`softmax(c tanh(s q k^T / c)) v`, with the exponential of a head's sink in the softmax's denominator.

    Capped scores are those of Gemma 2 (arXiv 2408.00118), sinks those of gpt-oss (arXiv 2508.10925). Without sinks the
    softmax is made in float32, as transformers makes it.

    Args:
        q: `[n, H, A, d]`.
        k: `[n, K, L, d]`, K a divisor of H.
        v: `[n, K, L, d]`.
        seen: `[A, L]`, who sees whom, everybody somebody; None where all see all.
        scaling: s.
        dropout: Of the weights.
        softcap: c; None where scores are not capped.
        sinks: One score a head, `[H]`, that takes weight and gives nothing.

    Returns:
        `[n, H, A, d]`.
    """
    k, v = (states.repeat_interleave(q.shape[1] // states.shape[1], dim=1) for states in (k, v))
    scores = q @ k.transpose(2, 3) * scaling  # [n, H, A, L]
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if seen is not None:
        scores = scores.masked_fill(~seen.to(scores.device), -torch.inf)
    if sinks is None:
        weights = functional.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)
    else:
        own = sinks.to(scores.dtype).reshape(1, -1, 1, 1).expand(*scores.shape[:-1], 1)
        weights = functional.softmax(torch.cat([scores, own], dim=-1), dim=-1)[..., :-1]
    return functional.dropout(weights, dropout) @ v if dropout else weights @ v
