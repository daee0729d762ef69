"""Whether a model writes at an end of a path what it writes with the adapter that PEFT loads."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from modeconn.errors import EvaluationError
from modeconn.models.encoded import EncodedTask
from modeconn.models.family import score_batch
from modeconn.models.generating import write
from modeconn.tasks.rows import Row

_NUM_EXAMPLES = 16  # of a split, spread over it
Written = Mapping[int, tuple[int, ...]]  # example -> new tokens


def written_sample(model: Any, module: nn.Module, split: object) -> Written:  # noqa: ANN401
    """What a module writes for some examples of a split; nothing where the task does not ask for it."""
    if not isinstance(split, EncodedTask) or split.questions is None:
        return {}
    count = min(_NUM_EXAMPLES, split.num_examples)
    examples = np.unique(np.linspace(0, split.num_examples - 1, count).round().astype(int)).tolist()
    return dict(zip(examples, write(model, module, split, examples), strict=True))


def check_written(
    model: Any,  # noqa: ANN401
    reference: nn.Module,
    end: str,
    splits: Sequence[object],
    written: Sequence[Written],
    *,
    tolerance: float,
) -> None:
    """Raise if the reference writes something else, unless rounding explains it.

    Two texts may part only where both tokens are about equally likely: under the reference, their losses must agree
    within twice the tolerance, relative to 1 + the loss of the text up to there. Scores of equal texts are equal.

    Args:
        model: The model.
        reference: The adapter as PEFT loads it.
        end: The end's name.
        splits: The splits.
        written: What the point wrote for some examples of each.
        tolerance: That of losses.

    Raises:
        EvaluationError: If a text differs otherwise.
    """
    for split, ours in zip(splits, written, strict=True):
        if not ours or not isinstance(split, EncodedTask):
            continue
        theirs = dict(zip(ours, write(model, reference, split, list(ours)), strict=True))
        apart = [example for example in ours if ours[example] != theirs[example]]
        wrong = [n for n in apart if not _tied(model, reference, split, n, ours[n], theirs[n], tolerance)]
        if wrong:
            raise EvaluationError(
                f"the end {end!r} of the path does not write what its checkpoint writes",
                expected=f"the same answers to {len(ours)} examples of {split.task}/{split.split}, up to ties",
                got=f"others to {len(wrong)}, at examples {', '.join(map(str, wrong[:10]))}",
                remedy="do not trust scores of written answers at this point, and please report the pair",
            )


def _tied(
    model: Any,  # noqa: ANN401
    reference: nn.Module,
    split: EncodedTask,
    example: int,
    ours: tuple[int, ...],
    theirs: tuple[int, ...],
    tolerance: float,
) -> bool:
    """Whether the first tokens that differ are equally likely, but for rounding."""
    place = next((k for k, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
    if place is None or split.questions is None:  # one text goes on where the other stopped
        return False
    context, lead = split.questions.contexts[example], split.questions.lead
    rows = [Row(context, tokens[: place + 1], example, lead) for tokens in (ours, theirs)]
    with torch.inference_mode():
        batch = model.family.collate(rows, model.pad_id).to(model.device)
        first, second = score_batch(model.family, reference, batch)[0].tolist()
    return abs(first - second) <= 2 * tolerance * (1 + max(first, second))
