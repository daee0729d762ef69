"""The model card of the base model."""

from collections.abc import Mapping
from pathlib import Path

import torch
import transformers

from .training import Recipe

CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---

# The embedded base model

A Llama of 4 layers and 256 hidden units ({parameters:,} parameters, 4 heads, embeddings tied, 1,024 positions)
with a byte-level BPE tokenizer of 4,096 tokens in which every digit is a token of its own. `<s>` stands before
every text. The weights are stored in bfloat16. It is here so that `modeconn` can show and test its work without
a download: small enough to be fine-tuned in seconds, good enough that fine-tuning has something to build on.

## What it was trained on

{tokens:,} tokens, {steps} steps of {rows} rows of {row_length} tokens, about {real_percent} % of them from the first
source and the rest from the second:

1. Prompt and answer of the {num_real:,} train examples of eight public English text tasks (topic, sentiment,
   entailment, paraphrase and yes/no questions: agnews, amazon, sst2, mnli, rte, boolq, qqp, cb), several times over.
2. Free text and simple questions made from the word lists of the generated tasks (`data/kinds`). The questions of
   the eight generated tasks themselves, with their answers, never occur; neither does one of their examples.

AdamW (betas 0.9 and 0.95, weight decay {weight_decay} on matrices, gradient norm at most 1), learning rate
{learning_rate:g} after a warm-up over {warmup_percent:.0f} % of the steps, then a cosine to a tenth; matrix products in
{products}. Training took {minutes:.0f} minutes of processor time with {threads} thread(s).

## What it can do

Perplexity per token on held-out text: the eval splits of the real and of the generated tasks (prompt and answer, at
most {measured} texts each) and free text from another seed. The unigram model has the counts of the training tokens,
one added to each. The numbers are in `metrics.json`, measured on the stored weights in float32.

| source | tokens | this model | unigram |
|---|---|---|---|
{table}

It knows the words, the phrases and the look of a prompt. It does not know the answers of the generated tasks before
fine-tuning, writes no sensible text about anything else, and is not meant to be used for any purpose but
demonstrations, tests and the study of fine-tuning. Nothing was done about the biases of its training texts.

## How it was made

    python data/make_base.py --data FOLDER{flags}

FOLDER holds the real tasks as `NAME/{{train,eval}}.json`. Seed {seed} settles the weights, the texts and their
order (the generated tasks have their own seed, {task_seed}). Made with torch {torch} and transformers {transformers}.
On one machine, with the same versions and the same number of threads, two short runs gave weights that are equal byte
for byte. Another processor, version or number of threads adds in another order: the weights then differ, and the table
is the thing to compare.

## Licence

The weights are under the licence of this project (Apache-2.0). They were trained on public task texts, which have
licences of their own; none of those texts is included here.
"""


def table(metrics: Mapping[str, Mapping[str, float]]) -> str:
    """Rows of the perplexity table."""
    return "\n".join(
        f"| {name} | {m['tokens']:,} | {m['model']:.1f} | {m['unigram']:.0f} |" for name, m in metrics.items()
    )


def write_card(
    folder: Path,
    recipe: Recipe,
    metrics: Mapping[str, Mapping[str, float]],
    *,
    flags: str,
    **facts: float,
) -> None:
    """Write `README.md`.

    Args:
        folder: Of the model.
        recipe: The settings of the training.
        metrics: Perplexities by source.
        flags: The command's flags that are not at their defaults, with a leading space each.
        **facts: `parameters`, `seconds`, `num_real`, `real_share`, `measured`, `task_seed`.
    """
    text = CARD.format(
        parameters=facts["parameters"],
        tokens=recipe.tokens,
        steps=recipe.steps,
        rows=recipe.rows,
        row_length=recipe.row_length,
        real_percent=round(100 * facts["real_share"]),
        num_real=facts["num_real"],
        weight_decay=recipe.weight_decay,
        learning_rate=recipe.learning_rate,
        warmup_percent=100 * recipe.warmup,
        products="bfloat16 (autocast), weights in float32" if recipe.bf16 else "float32",
        minutes=facts["seconds"] / 60,
        threads=recipe.threads,
        measured=facts["measured"],
        table=table(metrics),
        flags=flags,
        seed=recipe.seed,
        task_seed=facts["task_seed"],
        torch=torch.__version__,
        transformers=transformers.__version__,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
