"""What a fit lowers: the loss of a mixture of tasks at a point; and what must hold before it begins."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from modeconn.adapters.update import LowRank
from modeconn.errors import FitError, listed
from modeconn.evaluation.evaluate import check_tasks
from modeconn.fitting.batches import Mixture
from modeconn.fitting.reader import readers
from modeconn.fitting.settings import FitSettings
from modeconn.fitting.validation import Validation
from modeconn.models.batch_room import Room
from modeconn.models.halving import in_halves
from modeconn.models.point_model import PointModel
from modeconn.models.trainable import Trainable
from modeconn.paths.arclength import ArcLengthPath
from modeconn.paths.gram import gram_matrix
from modeconn.paths.path import Path
from modeconn.tasks.encoding import EncodingSettings

_ROUNDING = 1e-6  # of the points' norm: below, a distance is what float32 rounds away


class Objective:
    """The training and validation loss of a fit.

    Args:
        curve: The curve, which says whose head counts.
        model: The model.
        tasks: What the loss is made of.
        settings: In which shares, batches and splits.

    Raises:
        FitError: If the task weights do not fit the tasks, or labels cannot be masked.
        EvaluationError: If there is no task, two have one name, or no head knows a task's labels.
        TaskError: If a task lacks the training or the validation split.
    """

    def __init__(self, curve: Path, model: PointModel, tasks: Sequence[Any], settings: FitSettings) -> None:
        check_tasks(tasks)
        weights = _weights(settings, tasks)
        self.model, self._bf16, self._room = model, settings.bf16, Room()
        self._readers = readers(curve, model, tasks, mask_labels=settings.mask_labels)
        self.batches_per_step = settings.positions_per_step * settings.gradient_accumulation_steps
        training = EncodingSettings(
            max_length=settings.max_length,
            score_eos=settings.score_eos,
            separator=settings.separator,
            mask_labels=settings.mask_labels,
            all_choices=False,
            generate=False,
        )
        self.validation = Validation(self._readers, tasks, weights, settings)
        pairs = zip(self._readers, tasks, strict=True)
        encoded = [reader.model.encode(task, settings.train_split, training) for reader, task in pairs]
        self._allowed = [getattr(split, "allowed", None) for split in encoded]
        self.mixture = Mixture(
            model,
            encoded,
            weights,
            batch_size=settings.per_device_train_batch_size,
            batches_per_group=settings.gradient_accumulation_steps,
            num_batches=settings.num_steps * self.batches_per_step,
            seed=settings.seed,
        )

    def loss(
        self, at: Callable[[], Trainable], number: int, tensors: Sequence[torch.Tensor] = (), *, of: int = 1
    ) -> float:
        """The loss of batch `number` at a point, in nats per scored token, and its gradients.

        Rows that do not fit into the memory together are taken in halves; the gradients are those of the whole batch.

        Args:
            at: Makes the point out of the tensors, once for each half.
            number: Which batch.
            tensors: Leaves, to whose `grad` the gradients are added; none where nothing is to be trained.
            of: By what the loss is divided: the batches of a step.

        Raises:
            ModelError: If the memory is too small for a single row.
        """
        rows = self.mixture.rows(number)
        total = 0.0
        for task, part in self._parts(rows):
            lengths = self.mixture.lengths(part)
            found = in_halves(
                lambda some, task=task, part=part: self._loss_and_gradients(
                    at(), task, [part[one] for one in some], tensors, divisor=len(rows) * of
                ),
                range(len(part)),
                lengths.__getitem__,
                room=self._room,
            )
            for value, gradients in found:
                total += value
                for tensor, gradient in zip(tensors, gradients, strict=True):
                    _add(tensor, gradient)
        return total

    def _loss_and_gradients(
        self,
        point: Trainable,
        task: int,
        rows: Sequence[tuple[int, int]],
        tensors: Sequence[torch.Tensor],
        *,
        divisor: int,
    ) -> tuple[float, Sequence[torch.Tensor | None]]:
        """A part's share of the loss, and the gradients of that."""
        batch, divisors = self.mixture.collated(rows)
        with torch.set_grad_enabled(bool(tensors)):
            losses = self._readers[task].losses(point, batch, allowed=self._allowed[task], bf16=self._bf16)
            loss = (losses / divisors.to(losses.device)).sum() / divisor
        return loss.item(), torch.autograd.grad(loss, tensors, allow_unused=True) if tensors else ()

    def _parts(self, rows: Sequence[tuple[int, int]]) -> list[tuple[int, list[tuple[int, int]]]]:
        """Rows that one head scores over the same classes, and so go through the model together; a task of each."""
        parts: dict[object, tuple[int, list[tuple[int, int]]]] = {}
        for task, row in rows:
            key = id(self._readers[task]), self._allowed[task]
            parts.setdefault(key, (task, []))[1].append((task, row))
        return list(parts.values())

    def identity(self, curve: Path, settings: FitSettings) -> str:
        """SHA-256 in hex of all that decides the numbers of a fit."""
        said = replace(settings, save_steps=0)  # when it is kept decides none
        chosen_by = "mean and barrier"  # a state that another number chose is another fit's
        found = hashlib.sha256(repr((type(curve).__name__, curve.space, curve.heads, said, chosen_by)).encode())
        for point in (*curve.points, curve.head_of_end):
            found.update(point.fingerprint.encode())
        found.update(repr((self.model.fingerprint, str(self.model.dtype))).encode())
        for split in [*self.mixture.encoded, *self.validation.encoded]:
            found.update(repr(split.identity).encode())
        return found.hexdigest()


def _add(tensor: torch.Tensor, gradient: torch.Tensor | None) -> None:
    """Add a gradient to those of a tensor."""
    if gradient is not None:
        tensor.grad = gradient if tensor.grad is None else tensor.grad.add_(gradient)


def check_curve(curve: Path, model: PointModel) -> None:
    """Raise unless the bends of a curve can be fitted.

    Raises:
        FitError: If both ends are one point, positions depend on the bends, or points in factors space have tensors
            that are no plain factors.
        ModelError: If a point does not fit the model.
    """
    for point in curve.points:
        model.check(point)
    if _are_one(curve):
        raise FitError(
            "there is nothing to fit between a point and itself",
            expected="two different ends",
            got=f"{curve.start.name} and {curve.end.name} are the same point",
            remedy="give another end",
        )
    if isinstance(curve, ArcLengthPath):
        raise FitError(
            f"the positions of {curve.name} depend on its bends",
            expected="a curve of fixed coefficients",
            got="a curve at constant speed",
            remedy='fit the curve that it was made from, with uniform_in="arc-length"',
        )
    check_factors(curve)


def check_factors(curve: Path) -> None:
    """Raise unless control points in factors space are plain factors, which a fit can move.

    Raises:
        FitError: If the tensors of one are not.
    """
    for point in curve.points if curve.space != "weights" else ():
        others = [
            name
            for name, update in point.updates.items()
            if not (update.coefficients == (1.0,) and isinstance(update.parts[0], LowRank))
        ]
        if others or not point.config.kind.has_update:
            raise FitError(
                f"the tensors of {point.name} cannot be fitted in factors space",
                expected="plain pairs of LoRA factors and saved modules",
                got=f"{point.config.kind.name}" + (f": {listed(others)}" if others else ""),
                remedy='fit the curve in space="weights", with bends of LoRA',
            )


def _are_one(curve: Path) -> bool:
    """Whether both ends are one point: bit for bit, or by the distance of their factors, whatever their gauge."""
    if curve.start.fingerprint == curve.end.fingerprint:
        return True
    if curve.space != "weights" or not all(
        u.low_rank for end in (curve.start, curve.end) for u in end.updates.values()
    ):
        return False
    gram = gram_matrix((curve.start, curve.end))
    distance = (gram[0, 0] - 2 * gram[0, 1] + gram[1, 1]).clamp(min=0.0).sqrt()
    return bool(distance <= _ROUNDING * gram.diagonal().max().sqrt())


def _weights(settings: FitSettings, tasks: Sequence[Any]) -> Sequence[float]:
    """One weight a task."""
    weights = settings.task_weights or (1.0,) * len(tasks)
    if len(weights) != len(tasks):
        raise FitError(
            "the task weights do not fit the tasks",
            expected=f"{len(tasks)} weights, one a task",
            got=f"{len(weights)}: {', '.join(f'{weight:g}' for weight in weights)}",
            remedy="give one --task-weights value for each of --tasks",
        )
    return weights
