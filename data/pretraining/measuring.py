"""Perplexity of texts under the base model and under a unigram model."""

import math

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast


def unigram_log_probabilities(stream: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """Log probabilities of the tokens by their counts in a stream, one added to each count.

    Args:
        stream: `[L]`, the training tokens.
        vocabulary: Number of tokens V.

    Returns:
        `[V]`, nats, float64.
    """
    counts = torch.bincount(stream, minlength=vocabulary).double() + 1
    return (counts / counts.sum()).log()


@torch.no_grad()
def perplexities(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    texts: list[str],
    unigram: torch.Tensor,
) -> dict[str, float]:
    """Perplexity per token of the texts under both models, the first token of a text left out.

    Args:
        model: In eval mode.
        tokenizer: Puts a first token before every text, which is not scored.
        texts: One by one, not packed.
        unigram: `[V]`, log probabilities.

    Returns:
        `tokens`, `model` and `unigram`.
    """
    loss, baseline, tokens = 0.0, 0.0, 0
    for text in texts:
        ids = tokenizer(text, return_tensors="pt", truncation=True)["input_ids"]  # [1, L]
        logits = model(input_ids=ids).logits[0, :-1].float()  # [L - 1, V]
        target = ids[0, 1:]
        loss += torch.nn.functional.cross_entropy(logits, target, reduction="sum").item()
        baseline -= unigram[target].sum().item()
        tokens += len(target)
    return {
        "tokens": tokens,
        "model": round(math.exp(loss / tokens), 2),
        "unigram": round(math.exp(baseline / tokens), 2),
    }
