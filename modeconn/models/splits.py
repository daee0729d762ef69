"""A task's split as the batches that a model reads at every point."""

from collections.abc import Sequence
from typing import Any

from modeconn.errors import ModelError
from modeconn.models.encoded import EncodedTask
from modeconn.models.family import Causal, Classifier, Family
from modeconn.models.generating import questions_for
from modeconn.models.heads import without_classes
from modeconn.models.image_classifier import ImageClassifier, check_kind
from modeconn.models.packed_rows import by_context
from modeconn.tasks.batching import token_budget_batches
from modeconn.tasks.encoding import EncodingSettings
from modeconn.tasks.metrics import GENERATED
from modeconn.tasks.rows import Row
from modeconn.tasks.task import Task


def encode_split(
    family: Family,
    task: Task,
    split: str,
    tokenizer: Any,  # noqa: ANN401
    *,
    max_length: int,
    pad_id: int,
    settings: EncodingSettings,
) -> EncodedTask:
    """Tokenise a split and put its rows into batches of about one number of tokens, those of like length together.

    Args:
        family: How the model reads; a classifier with the names of its classes.
        task: The task.
        split: Which of its splits.
        tokenizer: The model's.
        max_length: Tokens that a row may have.
        pad_id: The token that fills batches.
        settings: How rows are made.

    Raises:
        ModelError: If a setting is only for classifiers.
        TaskError: If the split is missing, or an example cannot be encoded: a text by a model of images.
    """
    check_followed(family, settings)
    check_kind(family, task)
    questions = questions_for(family, task, split, tokenizer, max_length=max_length, settings=settings)
    encoded = family.encode(task, split, tokenizer, max_length, settings)
    groups = _batches(family, encoded.rows, settings.token_budget)
    return EncodedTask(
        task=task.name,
        split=split,
        metric="exact_match" if task.metric in GENERATED and questions is None else task.metric,
        rows=encoded,
        batches=tuple(family.collate([encoded.rows[i] for i in group], pad_id) for group in groups),
        order=tuple(i for group in groups for i in group),
        allowed=_own_classes(family, task) if settings.mask_labels else None,
        settings=settings,
        questions=questions,
    )


def check_followed(family: Family, settings: EncodingSettings) -> None:
    """Raise if the settings ask for what only a classifier does, or a model of texts: it would silently not be done.

    Raises:
        ModelError: If labels are to be masked, and the model has no classes; or images to be cut like texts.
    """
    if settings.max_length is not None and isinstance(family, ImageClassifier):
        raise ModelError(
            "max_length (--max-length) cannot be followed: the model reads images",
            expected="a model of texts, whose prompts may be cut",
            got=f"max_length={settings.max_length} for a model of the kind {family.task_type}",
            remedy="leave it out; the image processor decides the size of images",
        )
    if settings.mask_labels and not isinstance(family, Classifier):
        raise without_classes("mask_labels (--mask-labels)", family.task_type)


def _batches(family: Family, rows: Sequence[Row], token_budget: int) -> list[list[int]]:
    """Rows in batches; those that share a context are read with one of it, so they stay together."""
    if not isinstance(family, Causal) or not family.packed:
        return token_budget_batches([family.length(row) for row in rows], token_budget)
    groups = by_context(rows)
    lengths = [len(rows[one[0]].context) + sum(len(rows[row].targets) - 1 for row in one) for one in groups]
    return [[row for one in batch for row in groups[one]] for batch in token_budget_batches(lengths, token_budget)]


def _own_classes(family: Family, task: Task) -> tuple[int, ...] | None:
    """The numbers of a task's own classes in a classifier's head; None where there is nothing to choose from."""
    if not isinstance(family, Classifier) or not task.labels:
        return None
    own = {label.strip() for label in task.labels}
    return tuple(number for number, label in enumerate(family.labels) if label.strip() in own)
