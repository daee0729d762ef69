"""What a training run would do, from the tasks and the base model's description alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from peft import get_peft_model_state_dict
from torch import nn
from transformers.pytorch_utils import Conv1D

from modeconn.adapters.skeleton import CLASSIFIERS
from modeconn.continual.ability import check_ability, check_measurable
from modeconn.continual.image_models import check_trainable
from modeconn.continual.learner import AdapterLearner, Learner, learner, trainable
from modeconn.continual.preparing import Splits, assembled, classes_of
from modeconn.continual.settings import TrainSettings
from modeconn.continual.starting import FULL, RECIPES
from modeconn.continual.tracking import check_trackers
from modeconn.continual.trainer import folder_names
from modeconn.models.adapter_model import AdapterModel
from modeconn.models.described import described
from modeconn.models.device_maps import as_device
from modeconn.models.encoded import EncodedTask
from modeconn.models.loading import guess_task_type
from modeconn.tasks.task import Task

_FLOAT = 4  # bytes of a weight in training
_OF_A_TRAINED = 3 * _FLOAT  # its gradient and the optimiser's two means


@dataclass(frozen=True, eq=False)
class TrainPlan:
    """What a training run would do.

    Attributes:
        tasks: One row for each task: task, examples, cut (prompts that do not fit), tokens (of an epoch), scored (those
            that are learnt), longest (tokens of a row), test_examples, learning_rate, epochs, steps.
        num_parameters: Of base and adapter.
        num_trained: Those that gradients reach.
        token_flops: Of the products with weights for one token of the task's own rows, forward and backward; attention
            and what a method adds are left out.
        memory: Bytes of weights, gradients and the optimiser's state; activations come on top.
    """

    tasks: pd.DataFrame
    num_parameters: int
    num_trained: int
    token_flops: int
    memory: int

    @property
    def num_tokens(self) -> int:
        """Tokens of the tasks' own rows that training reads."""
        return int((self.tasks["tokens"].to_numpy() * self.tasks["epochs"].to_numpy()).sum())


def plan_training(base_model: str | Path, tasks: Sequence[Task], *, settings: TrainSettings | None = None) -> TrainPlan:
    """Check settings and tasks as training does, and count; no weight is loaded and nothing written.

    The learner is made without numbers, and the method started on it: what training would refuse before its first
    step is refused here with the same error, but for what only the base model's weights tell.

    Args:
        base_model: Folder or hub id of the base; config.json and tokenizer are enough.
        tasks: The tasks in order.
        settings: How to train.

    Raises:
        ModeconnError: If a setting, the base model or a task cannot be used.
    """
    settings = settings or TrainSettings()
    folder_names(tasks)
    method = settings.made_method()
    num_stages = len(method.stages(len(tasks)))
    settings.for_task(1, num_stages)
    _check_named(settings.device)
    check_trackers(settings.report_to)
    check_ability(settings)
    task_type = settings.task_type or guess_task_type(base_model)
    labels = classes_of(tasks) if task_type in CLASSIFIERS else ()
    model = described(base_model, task_type=task_type, labels=labels)
    check_trainable(model.module, task_type)
    splits = Splits.of(model, tasks, settings)
    rows = []
    for number, (train, test) in enumerate(zip(splits.train, splits.evaluation, strict=True), start=1):
        rate, epochs = settings.for_task(min(number, num_stages), num_stages)
        rows.append(_row(model, train, test, settings, epochs=epochs) | {"learning_rate": rate})
    trained = _learner(model, settings)
    run = assembled(model, trained, splits, settings)
    method.start(run)
    if settings.lm_eval:
        check_measurable(run)
    module = trained.module
    num_trained = sum(weight.numel() for weight in trainable(module).values())
    num_parameters = sum(weight.numel() for weight in module.parameters())
    memory = _FLOAT * num_parameters + _OF_A_TRAINED * num_trained
    return TrainPlan(pd.DataFrame(rows), num_parameters, num_trained, _token_flops(module), memory)


def _check_named(device: str) -> None:
    """Raise unless torch knows a device of that name; whether this machine has it, only training asks."""
    try:
        torch.device(device)
    except RuntimeError:
        as_device(device)


def _row(
    model: AdapterModel, train: EncodedTask, test: EncodedTask, settings: TrainSettings, *, epochs: int
) -> dict[str, object]:
    """What is to be learnt of a task."""
    lengths = [model.family.length(row) for row in train.rows.rows]
    return {
        "task": train.task,
        "examples": train.num_examples,
        "cut": train.num_truncated,
        "tokens": sum(lengths),
        "scored": sum(len(row.targets) for row in train.rows.rows),
        "longest": max(lengths),
        "test_examples": test.num_examples,
        "epochs": epochs,
        "steps": epochs * -(-len(lengths) // settings.examples_a_step),
    }


def _learner(model: AdapterModel, settings: TrainSettings) -> Learner:
    """What would be trained, without numbers."""
    if settings.adapter != FULL and RECIPES[settings.adapter].changes_base:
        settings = replace(settings, adapter="lora")  # weights that are not there are decomposed; the shapes are LoRA's
    return learner(model, settings) if settings.adapter == FULL else _Unnumbered(model, settings)


class _Unnumbered(AdapterLearner):
    """An adapter without numbers, whose checkpoint has the shapes of a trained one."""

    def __init__(self, model: AdapterModel, settings: TrainSettings) -> None:
        super().__init__(model, settings)
        self._provenance = {}  # the base has no fingerprint

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Ones; nothing of a prompt, which PEFT would have to compute."""
        if self._config.is_prompt_learning:
            return {}
        found = get_peft_model_state_dict(self._peft_model)
        return {name: torch.ones_like(value, device="cpu") for name, value in found.items()}


def _token_flops(module: nn.Module) -> int:
    """Two operations a weight forward and two backward; two more where the weight itself has a gradient."""
    weights = [one.weight for one in module.modules() if isinstance(one, nn.Linear | Conv1D)]
    return sum((6 if weight.requires_grad else 4) * weight.numel() for weight in weights)
