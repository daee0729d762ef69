"""What a model writes: greedy decoding in batches with the cache, and the scores of the outputs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from modeconn.models.batch_room import Room
from modeconn.models.encoded import EncodedTask, ExampleSums, Outputs, pad, reduce_rows
from modeconn.models.family import Causal, Classifier, Family, Seq2Seq
from modeconn.models.halving import in_halves
from modeconn.models.shares import Share, alone
from modeconn.tasks.batching import token_budget_batches
from modeconn.tasks.encoding import EncodingSettings
from modeconn.tasks.questions import (
    Questions,
    asks_for_text,
    continuation_questions,
    refuse_classifier,
    source_questions,
)
from modeconn.tasks.rows import Row
from modeconn.tasks.scores import score_outputs
from modeconn.tasks.task import Task

if TYPE_CHECKING:
    from modeconn.models.adapter_model import AdapterModel


def questions_for(
    family: Family,
    task: Task,
    split: str,
    tokenizer: Any,  # noqa: ANN401
    *,
    max_length: int,
    settings: EncodingSettings,
) -> Questions | None:
    """What a model of a family is asked to write; None where the task's score needs no written answer.

    Raises:
        TaskError: If the model is a classifier, the answers do not fit, or a library is missing.
    """
    if not asks_for_text(task, settings):
        return None
    if isinstance(family, Classifier):
        raise refuse_classifier(task)
    if isinstance(family, Seq2Seq):
        return source_questions(task, split, tokenizer, max_length=max_length)
    return continuation_questions(task, split, tokenizer, max_length=max_length, settings=settings)


def example_sums(model: "AdapterModel", module: nn.Module, split: EncodedTask, *, share: Share = alone) -> ExampleSums:
    """Per-example sums of a split by a module that is at a point; scores of written answers where the task asks.

    Args:
        model: The model.
        module: The module.
        split: The split.
        share: Who scores and writes which of its batches.
    """
    sums = reduce_rows(split, *model.score_rows(module, split, share))
    if split.questions is None:
        return sums
    ends = end_tokens(model)
    tokens = write(model, module, split, share=share)
    outputs = Outputs(
        texts=tuple(decoded(model, row, ends) for row in tokens),
        ended=tuple(row[-1] in ends for row in tokens),
    )
    scores = score_outputs(split.metric, outputs.texts, split.questions.examples)
    return replace(sums, score=scores, outputs=outputs)


@torch.inference_mode()
def write(
    model: "AdapterModel",
    module: nn.Module,
    split: EncodedTask,
    examples: Sequence[int] | None = None,
    *,
    share: Share = alone,
) -> list[tuple[int, ...]]:
    """The likeliest token after the likeliest token, until the end of the text or `num_new` tokens.

    Questions of like length are put into batches within the token budget, answers included.

    Args:
        model: Family, tokenizer and device.
        module: Any module of this architecture.
        split: The split, with questions.
        examples: Numbers of the examples; all by default.
        share: Who writes which of the batches.

    Returns:
        The new tokens of every example, the end of the text included where it was reached.
    """
    questions = split.questions
    if questions is None:
        raise ValueError(f"{split.task} asks for no written answers")
    numbers = list(range(len(questions.contexts)) if examples is None else examples)
    lengths = [len(questions.contexts[number]) + questions.num_new for number in numbers]
    ends = end_tokens(model)

    def answers(group: Sequence[int]) -> dict[int, tuple[int, ...]]:
        rows = [Row(questions.contexts[number], (), number, questions.lead) for number in group]
        # A prompted model has no cache of its own kind.
        tokens = (_with_cache if hasattr(module, "generate") else _without_cache)(model, module, rows, questions, ends)
        return {number: _until_end(row, ends) for number, row in zip(group, tokens.tolist(), strict=True)}

    def written(places: Sequence[int]) -> list[dict[int, tuple[int, ...]]]:
        return in_halves(
            answers,
            [numbers[place] for place in places],
            lambda number: len(questions.contexts[number]) + questions.num_new,
            room=Room(model.memory.writing),
        )

    groups = share(token_budget_batches(lengths, split.settings.token_budget), written)
    found = {number: row for halves in groups for some in halves for number, row in some.items()}
    return [found[number] for number in numbers]


def end_tokens(model: "AdapterModel") -> tuple[int, ...]:
    """The tokens that end a text: the tokenizer's, and those that the base's generation settings name."""
    named = getattr(getattr(model.module, "generation_config", None), "eos_token_id", None)
    several = named if isinstance(named, list | tuple) else [named]
    return tuple(sorted({end for end in [model.tokenizer.eos_token_id, *several] if end is not None}))


def decoded(model: "AdapterModel", tokens: Sequence[int], ends: Sequence[int]) -> str:
    """The text of new tokens, without special ones."""
    kept = [token for token in tokens if token not in ends]
    return model.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _until_end(tokens: Sequence[int], ends: Sequence[int]) -> tuple[int, ...]:
    """Tokens up to the first that ends the text, which is kept."""
    stop = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    return tuple(tokens[: stop + 1])


def _with_cache(
    model: "AdapterModel", module: Any, rows: Sequence[Row], questions: Questions, ends: Sequence[int]  # noqa: ANN401
) -> torch.Tensor:  # fmt: skip
    """New tokens `[B, num_new]` or fewer, by transformers; rows that have ended are filled up."""
    from transformers import GenerationConfig

    config: Any = module.config
    apart = bool(config.is_encoder_decoder)
    contexts = [row.context for row in rows]
    inputs = {
        "input_ids": pad(contexts, model.pad_id, left=not apart),
        "attention_mask": pad([[1] * len(context) for context in contexts], 0, left=not apart),
    }
    if apart:
        inputs["decoder_input_ids"] = torch.tensor([[config.decoder_start_token_id, *questions.lead]] * len(rows))
    inputs = {name: value.to(model.device) for name, value in inputs.items()}
    plain = GenerationConfig(
        do_sample=False, num_beams=1, max_new_tokens=questions.num_new, use_cache=True, pad_token_id=model.pad_id,
        eos_token_id=list(ends) or None, decoder_start_token_id=getattr(config, "decoder_start_token_id", None),
    )  # fmt: skip
    with _generation_settings(module, plain):
        tokens = module.generate(**inputs)
    read = inputs["decoder_input_ids" if apart else "input_ids"]
    return tokens[:, read.shape[1] :]


@contextmanager
def _generation_settings(module: Any, settings: Any) -> Iterator[None]:  # noqa: ANN401
    """A module with these settings only: its own may penalise repeats, force tokens or sample."""
    own = module.generation_config
    module.generation_config = settings
    try:
        yield
    finally:
        module.generation_config = own


def _without_cache(
    model: "AdapterModel", module: nn.Module, rows: Sequence[Row], questions: Questions, ends: Sequence[int]
) -> torch.Tensor:
    """New tokens `[B, num_new]` or fewer, one pass over everything for each."""
    rows = list(rows)
    columns: list[torch.Tensor] = []
    running = torch.ones(len(rows), dtype=torch.bool, device=model.device)
    while len(columns) < questions.num_new and bool(running.any()):
        asked = [replace(row, targets=(model.pad_id,)) for row in rows]  # one position to predict
        batch = model.family.collate(asked, model.pad_id).to(model.device)
        if isinstance(model.family, Causal):  # what was written is no part of the question
            batch.inputs["answer_lengths"] = torch.full_like(batch.targets[:, 0], len(columns))
        new = model.family.logits(module, batch)[:, -1].argmax(-1)  # [B]
        columns.append(new)
        for end in ends:
            running &= new != end
        rows = [_longer(model.family, row, token) for row, token in zip(rows, new.tolist(), strict=True)]
    return torch.stack(columns, dim=1)


def _longer(family: Family, row: Row, token: int) -> Row:
    """A row with one more token that was written."""
    if isinstance(family, Seq2Seq):
        return replace(row, lead=(*row.lead, token))
    return replace(row, context=(*row.context, token))
