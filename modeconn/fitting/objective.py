"""What a fit lowers: the loss of a mixture of tasks at a point; and what must hold before it begins."""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch

from modeconn.adapters.update import LowRank
from modeconn.errors import FitError, listed
from modeconn.evaluation.evaluate import check_tasks
from modeconn.fitting.batches import Mixture
from modeconn.fitting.settings import FitSettings
from modeconn.fitting.validation import Validation
from modeconn.models.point_model import PointModel
from modeconn.models.trainable import Trainable, placed_trainable
from modeconn.paths.arclength import ArcLengthPath
from modeconn.paths.path import Path
from modeconn.tasks.encoding import EncodingSettings


class Objective:
    """The training and validation loss of a fit.

    Args:
        model: The model.
        tasks: What the loss is made of.
        settings: In which shares, batches and splits.

    Raises:
        FitError: If the task weights do not fit the tasks.
        EvaluationError: If there is no task, or two have one name.
        TaskError: If a task lacks the training or the validation split.
    """

    def __init__(self, model: PointModel, tasks: Sequence[Any], settings: FitSettings) -> None:
        check_tasks(tasks)
        weights = _weights(settings, tasks)
        self.model, self._bf16 = model, settings.bf16
        self.batches_per_step = settings.positions_per_step * settings.gradient_accumulation_steps
        training = EncodingSettings(
            max_length=settings.max_length,
            score_eos=settings.score_eos,
            separator=settings.separator,
            all_choices=False,
        )
        self.validation = Validation(model, tasks, weights, settings)
        self.mixture = Mixture(
            model,
            [model.encode(task, settings.train_split, training) for task in tasks],
            weights,
            batch_size=settings.per_device_train_batch_size,
            batches_per_group=settings.gradient_accumulation_steps,
            num_batches=settings.num_steps * self.batches_per_step,
            seed=settings.seed,
        )

    def loss(self, point: Trainable, number: int) -> torch.Tensor:
        """The loss of batch `number` at a point, in nats per scored token, `[]`."""
        batch, divisors = self.mixture.batch(number)
        autocast = torch.autocast(self.model.device.type, torch.bfloat16, enabled=self._bf16)
        with placed_trainable(self.model.module, point), autocast:
            losses = self.model.batch_losses(batch)
        return (losses / divisors.to(losses.device)).mean()

    def identity(self, curve: Path, settings: FitSettings) -> str:
        """SHA-256 in hex of all that decides the numbers of a fit."""
        found = hashlib.sha256(repr((type(curve).__name__, curve.space, settings)).encode())
        for point in curve.points:
            found.update(point.fingerprint.encode())
        found.update(repr((self.model.fingerprint, str(self.model.dtype))).encode())
        for split in [*self.mixture.encoded, *self.validation.encoded]:
            found.update(repr(split.identity).encode())
        return found.hexdigest()


def check_curve(curve: Path, model: PointModel) -> None:
    """Raise unless the bends of a curve can be fitted.

    Raises:
        FitError: If both ends are one point, positions depend on the bends, or points in factors space have tensors
            that are no plain factors.
        ModelError: If a point does not fit the model.
    """
    for point in curve.points:
        model.check(point)
    if curve.start.fingerprint == curve.end.fingerprint:
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
