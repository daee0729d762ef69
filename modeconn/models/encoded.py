"""A task's split as the batches that are scored at every point, and the numbers that come back."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from modeconn.models.packed_rows import Packed
from modeconn.tasks.encoding import EncodingSettings
from modeconn.tasks.questions import Questions
from modeconn.tasks.rows import EncodedRows


@dataclass(frozen=True)
class Batch:
    """Rows that go through the model together.

    Attributes:
        inputs: The model's arguments, `[B, L]` each; `[1, T]` where the rows stand one after the other.
        targets: Tokens to score `[B, A]`, padded with -100; classes `[B, 1]` for a classifier.
        packed: How rows that stand one after the other do so; None where they are padded.
        allowed: The classes that may be each row's answer, `[B, C]` bool, where rows have classes of their own.
    """

    inputs: dict[str, torch.Tensor]
    targets: torch.Tensor
    packed: Packed | None = None
    allowed: torch.Tensor | None = None

    @property
    def num_tokens(self) -> int:
        """Tokens that are read, padding included; of an encoder-decoder the prompts', of images one each."""
        return self.inputs["input_ids" if "input_ids" in self.inputs else "attention_mask"].numel()

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""
        inputs = {name: value.to(device, non_blocking=True) for name, value in self.inputs.items()}
        packed = None if self.packed is None else self.packed.to(device)
        allowed = None if self.allowed is None else self.allowed.to(device, non_blocking=True)
        return Batch(inputs, self.targets.to(device, non_blocking=True), packed, allowed)


@dataclass(frozen=True)
class EncodedTask:
    """A split, tokenised once, in batches that are the same at every point.

    Attributes:
        task: Name of the task.
        split: Name of the split.
        metric: What `score` means: "accuracy", "exact_match", or a score of written answers.
        rows: The rows, their right choices and the count of cut prompts.
        batches: The rows in batches.
        order: Row numbers in the order in which the batches hold them.
        allowed: Classes that a classifier may answer with, or None for all.
        settings: How the rows were made.
        questions: What the model is asked to write, where the score is that of written answers.
    """

    task: str
    split: str
    metric: str
    rows: EncodedRows
    batches: tuple[Batch, ...]
    order: tuple[int, ...]
    allowed: tuple[int, ...] | None
    settings: EncodingSettings
    questions: Questions | None = None

    @property
    def num_examples(self) -> int:
        """The number of examples, N."""
        return len(self.rows.answers)

    @property
    def num_truncated(self) -> int:
        """Prompts that were cut to fit; written answers may need more room than the given ones."""
        return max(self.rows.num_truncated, self.questions.num_truncated if self.questions else 0)

    @property
    def scored_examples(self) -> np.ndarray:
        """The example of every row that the batches hold, in their order."""
        return np.array([self.rows.rows[row].example for row in self.order])

    @property
    def identity(self) -> tuple[object, ...]:
        """All that decides the numbers, apart from model and point."""
        asked = () if self.questions is None else (self.questions,)
        return self.task, self.split, self.metric, self.rows, self.order, self.allowed, self.settings, *asked

    def sample(self, num_rows: int) -> "EncodedTask":
        """Batches spread over the split that hold about `num_rows` rows; 0 takes all."""
        if num_rows == 0:
            return self
        wanted = max(1, round(len(self.batches) * num_rows / len(self.order)))
        return self.every_batch(max(1, len(self.batches) // wanted))

    def every_batch(self, step: int) -> "EncodedTask":
        """Every `step`-th batch, for spot checks by `AdapterModel.score_rows`."""
        starts = np.cumsum([0, *(len(batch.targets) for batch in self.batches)])
        chosen = range(0, len(self.batches), step)
        order = [row for number in chosen for row in self.order[starts[number] : starts[number + 1]]]
        return replace(self, batches=tuple(self.batches[number] for number in chosen), order=tuple(order))


@dataclass(frozen=True)
class Outputs:
    """What a model wrote.

    Attributes:
        texts: One for each of N examples, as the tokenizer decodes it without special tokens.
        ended: Whether the model ended the text itself; otherwise it was cut.
    """

    texts: tuple[str, ...]
    ended: tuple[bool, ...]


@dataclass(frozen=True)
class ExampleSums:
    """One number of each kind for every example of a split at one point; means are sums divided once.

    Attributes:
        loss_sum: `[N]` float64, nats: the negative log-likelihood of the answer, summed over its tokens.
        num_tokens: `[N]` int64: scored tokens (1 for a classifier).
        score: `[N]` float64 in [0, 1].
        outputs: What the model wrote, where the score is that of written answers.
    """

    loss_sum: np.ndarray
    num_tokens: np.ndarray
    score: np.ndarray
    outputs: Outputs | None = None


def reduce_rows(encoded: EncodedTask, loss: np.ndarray, correct: np.ndarray) -> ExampleSums:
    """Rows to examples: the right choice's loss; its score is whether it is the likeliest choice.

    Where an example has one row, its score is the row's: for free answers 1 where every token is the likeliest, which
    is what greedy decoding would write; for labels of one token 1 where the right one is the likeliest label. Of
    equally likely choices the first counts.

    Args:
        encoded: The split.
        loss: `[R]`, nats, in the order of `encoded.rows.rows`.
        correct: `[R]`, 1.0 where all scored tokens of a row are the likeliest.
    """
    rows, answers = encoded.rows.rows, np.asarray(encoded.rows.answers)
    num_choices = len(rows) // len(answers)
    per_choice = loss.reshape(len(answers), num_choices)  # [N, choices]
    tokens = np.array([len(row.targets) for row in rows]).reshape(len(answers), num_choices)
    right = answers if num_choices > 1 else np.zeros(len(answers), dtype=int)
    chosen = np.arange(len(answers))
    score = per_choice.argmin(axis=1) == right if num_choices > 1 else correct
    own = np.where(np.isnan(per_choice).any(axis=1), np.nan, per_choice[chosen, right])  # no choice without the others
    return ExampleSums(own, tokens[chosen, right], score.astype(float))


def pad(rows: Sequence[Sequence[int]], value: int, *, left: bool) -> torch.Tensor:
    """Rows of different lengths as one matrix `[B, L]`."""
    width = max(len(row) for row in rows)
    filler = [[value] * (width - len(row)) for row in rows]
    padded = [[*f, *row] if left else [*row, *f] for f, row in zip(filler, rows, strict=True)]
    return torch.tensor(padded, dtype=torch.long)  # said, as rows may all be empty
