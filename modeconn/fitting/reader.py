"""How the tasks of a fit are scored: by which head, over which classes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.heads import with_heads_of
from modeconn.errors import FitError
from modeconn.evaluation.own_heads import by_head
from modeconn.models.adapter_model import AdapterModel
from modeconn.models.encoded import ExampleSums
from modeconn.models.family import score_batch
from modeconn.models.point_model import PointModel
from modeconn.models.trainable import Trainable, placed_trainable
from modeconn.paths.path import Path


@dataclass(frozen=True, eq=False)
class Reader:
    """A model with the head that a task is scored by.

    Attributes:
        model: The model, with room for the head.
        head: Whose saved modules stand in the place of the points'; None for the points' own.
    """

    model: PointModel
    head: Adapter | None = None

    def losses(
        self, point: Trainable, batch: Any, *, allowed: tuple[int, ...] | None, bf16: bool  # noqa: ANN401
    ) -> torch.Tensor:  # fmt: skip
        """The losses of a batch at a point with gradients, `[B]`, nats, summed over tokens.

        Args:
            point: The point.
            batch: Rows of the model's.
            allowed: The classes that may be answered; None for all.
            bf16: Whether the model computes in bf16, by autocast.
        """
        device = self.model.device
        if self.head is not None:
            point = replace(point, saved={name: one.to(device) for name, one in self.head.saved.items()})
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=bf16)
        with placed_trainable(self.model.module, point), autocast:
            if allowed is None:
                return self.model.batch_losses(batch)
            assert isinstance(self.model, AdapterModel)  # no other has classes
            classes = torch.tensor(allowed, device=device)
            return score_batch(self.model.family, self.model.module, batch, allowed=classes)[0]

    def evaluate(self, point: Adapter, encoded: Sequence[Any]) -> list[ExampleSums]:
        """Per-example sums of splits at a point."""
        return self.model.evaluate(point if self.head is None else with_heads_of(point, self.head), encoded)


def readers(curve: Path, model: PointModel, tasks: Sequence[Any], *, mask_labels: bool) -> list[Reader]:
    """One reader a task; tasks that are scored by one head have one reader.

    Args:
        curve: The curve; with `heads="own"` a task is scored by the head of the end that knows its labels.
        model: The model; there with the start's head.
        tasks: The tasks.
        mask_labels: Whether classes that are not a task's own are to be left out.

    Raises:
        FitError: If labels are to be masked, and the model is none of transformers.
        EvaluationError: If no head knows a task's labels.
        ModelError: If the model cannot take another head.
    """
    if mask_labels and not isinstance(model, AdapterModel):
        raise FitError(
            "mask_labels (--mask-labels) cannot be followed",
            expected="a classifier of transformers, whose classes have names",
            got=type(model).__name__,
            remedy="leave classes out in the loss function",
        )
    if curve.heads != "own":
        return [Reader(model)] * len(tasks)
    found = {}
    for one in by_head(curve, model, tasks):
        reader = Reader(one.model, curve.head_of_end if one.end == "end" else None)
        found |= {task.name: reader for task in one.tasks}
    return [found[task.name] for task in tasks]
