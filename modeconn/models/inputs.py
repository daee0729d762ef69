"""What models read when their activations are compared: the same texts in the same order, told by a hash."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from modeconn.errors import EvaluationError
from modeconn.tasks.encoding import EncodingSettings
from modeconn.tasks.rows import Row
from modeconn.tasks.task import Task

if TYPE_CHECKING:
    from modeconn.models.adapter_model import AdapterModel


@dataclass(frozen=True)
class Inputs:
    """Prompts of a split as one model reads them; answers are not read.

    Attributes:
        task: Name of the task.
        split: Name of the split.
        rows: One row an example; of its targets one stands there, unread, for where an answer would begin.
        texts: SHA-256 of the prompts in order, the same for every tokenizer.
        tokens: SHA-256 of their tokens in order.
        num_truncated: Prompts that were cut to fit.
    """

    task: str
    split: str
    rows: tuple[Row, ...]
    texts: str
    tokens: str
    num_truncated: int

    @property
    def num_examples(self) -> int:
        """N."""
        return len(self.rows)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of every prompt, `[N]`."""
        return tuple(len(row.context) for row in self.rows)


def read_inputs(
    model: "AdapterModel",
    task: Task,
    *,
    split: str = "test",
    num_examples: int | None = None,
    settings: EncodingSettings | None = None,
) -> Inputs:
    """The prompts of a split as tokens.

    Args:
        model: The model whose tokenizer is used.
        task: The task.
        split: Which of its splits.
        num_examples: How many, spread evenly over the split; None, or more than there are, takes all.
        settings: How they become tokens.

    Raises:
        EvaluationError: If `num_examples` is below 1.
        TaskError: If the split is missing or cannot be encoded.
    """
    if num_examples is not None and num_examples < 1:
        raise EvaluationError(
            "nothing would be compared",
            expected="num_examples of at least 4",
            got=f"num_examples={num_examples}",
            remedy="use num_examples=1000, or None for all",
        )
    encoded = model.encode(task, split, replace(settings or EncodingSettings(), all_choices=False, mask_labels=False))
    examples = task.split(split)
    count = min(num_examples or len(examples), len(examples))
    chosen = np.unique(np.linspace(0, len(examples) - 1, count).round().astype(int)).tolist()
    rows = tuple(replace(row, targets=row.targets[:1]) for row in (encoded.rows.rows[number] for number in chosen))
    return Inputs(
        task.name,
        split,
        rows,
        texts=_digest(examples[number].prompt for number in chosen),
        tokens=_digest(repr((row.lead, row.context)) for row in rows),
        num_truncated=encoded.num_truncated,
    )


def _digest(texts: Iterable[str]) -> str:
    """SHA-256 of texts in order."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(f"{len(text)}:".encode())
        digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
