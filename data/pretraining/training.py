"""Training of the base model from scratch on packed rows."""

import math
import time
from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from .tokenizer import MAX_LENGTH, VOCABULARY


@dataclass(frozen=True)
class Recipe:
    """Settings of the training.

    Args:
        steps: Optimiser steps.
        rows: Rows in a batch.
        row_length: Tokens in a row.
        learning_rate: Highest rate, reached after the warm-up; a cosine leads to a tenth of it.
        warmup: Share of the steps with a rising rate.
        weight_decay: Of AdamW, on matrices only.
        seed: Of the weights, the texts and their order.
        threads: Of torch.
        bf16: Whether matrix products run in bfloat16.
    """

    steps: int = 1500
    rows: int = 16
    row_length: int = 256
    learning_rate: float = 2e-3
    warmup: float = 0.05
    weight_decay: float = 0.1
    seed: int = 0
    threads: int = 1
    bf16: bool = True

    @property
    def tokens(self) -> int:
        """Tokens seen in training."""
        return self.steps * self.rows * self.row_length


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A Llama of 4 layers and 256 hidden units with random weights, embeddings tied."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config)


def optimizer_for(model: LlamaForCausalLM, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW that decays matrices and leaves the norms alone."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95))


def rate_factor(step: int, recipe: Recipe) -> float:
    """Learning rate at a step over the highest: linear warm-up, then a cosine to a tenth."""
    warm = max(1, round(recipe.warmup * recipe.steps))
    if step < warm:
        return (step + 1) / warm
    done = (step - warm) / max(1, recipe.steps - warm)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * done))


def train(model: LlamaForCausalLM, rows: torch.Tensor, recipe: Recipe) -> float:
    """Train the model in place on rows of token ids, each row once.

    Args:
        model: Float32 weights.
        rows: `[steps * rows, row_length]`, token ids.
        recipe: The settings.

    Returns:
        Seconds of processor time, which other work on the machine does not change.
    """
    optimizer = optimizer_for(model, recipe)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_factor(step, recipe))
    model.train()
    start, used, smooth = time.monotonic(), time.process_time(), math.nan
    for step, batch in enumerate(rows.split(recipe.rows), start=1):
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
            loss = model(input_ids=batch, labels=batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        value = loss.item()
        smooth = value if math.isnan(smooth) else 0.95 * smooth + 0.05 * value
        if step % 25 == 0 or step == recipe.steps:
            seconds = time.monotonic() - start
            speed = step * batch.numel() / seconds
            print(f"step {step}/{recipe.steps}  loss {smooth:.3f}  {speed:.0f} tokens/s  {seconds:.0f} s", flush=True)
    model.eval()
    return time.process_time() - used
