"""What a training run would do, from the tasks and the base model's description alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from torch import nn
from transformers.pytorch_utils import Conv1D

from modeconn.adapters.skeleton import CLASSIFIERS
from modeconn.continual.learner import trainable
from modeconn.continual.preparing import classes_of, evaluation_encoding
from modeconn.continual.settings import TrainSettings
from modeconn.continual.starting import FULL, RECIPES, new_adapter
from modeconn.continual.task_work import training_encoding
from modeconn.continual.trainer import folder_names
from modeconn.models.adapter_model import AdapterModel
from modeconn.models.described import described
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

    Whether the values of the method's own settings make sense is left to training, which knows the learner.

    Args:
        base_model: Folder or hub id of the base; config.json and tokenizer are enough.
        tasks: The tasks in order.
        settings: How to train.

    Raises:
        ModeconnError: If a setting, the base model or a task cannot be used.
    """
    settings = settings or TrainSettings()
    folder_names(tasks)
    num_stages = len(settings.made_method().stages(len(tasks)))
    task_type = settings.task_type or guess_task_type(base_model)
    labels = classes_of(tasks) if task_type in CLASSIFIERS else ()
    model = described(base_model, task_type=task_type, labels=labels)
    rows = []
    for number, task in enumerate(tasks, start=1):
        rate, epochs = settings.for_task(min(number, num_stages), num_stages)
        train = model.encode(task, "train", training_encoding(settings))
        test = model.encode(task, settings.eval_split, evaluation_encoding(settings))
        rows.append(_row(model, train, test, settings, epochs=epochs) | {"learning_rate": rate})
    module = _learner(model, settings)
    num_trained = sum(weight.numel() for weight in trainable(module).values())
    num_parameters = sum(weight.numel() for weight in module.parameters())
    memory = _FLOAT * num_parameters + _OF_A_TRAINED * num_trained
    return TrainPlan(pd.DataFrame(rows), num_parameters, num_trained, _token_flops(module), memory)


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


def _learner(model: AdapterModel, settings: TrainSettings) -> nn.Module:
    """The module that would be trained, without numbers."""
    if settings.adapter == FULL:
        return model.module.requires_grad_(True)
    if RECIPES[settings.adapter].changes_base:  # decomposes weights, which are not there; the shapes are LoRA's
        settings = replace(settings, adapter="lora")
    return new_adapter(model, settings)


def _token_flops(module: nn.Module) -> int:
    """Two operations a weight forward and two backward; two more where the weight itself has a gradient."""
    weights = [one.weight for one in module.modules() if isinstance(one, nn.Linear | Conv1D)]
    return sum((6 if weight.requires_grad else 4) * weight.numel() for weight in weights)
