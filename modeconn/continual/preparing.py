"""What a training run needs before its first step: the base model, its learner, and the tasks as tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import torch

from modeconn.adapters.skeleton import CLASSIFIERS
from modeconn.continual.image_models import check_trainable
from modeconn.continual.learner import Learner, learner
from modeconn.continual.pooling import pooled
from modeconn.continual.recomputing import recompute_activations
from modeconn.continual.run import Run
from modeconn.continual.settings import TrainSettings
from modeconn.continual.task_work import training_encoding
from modeconn.errors import TaskError, listed
from modeconn.models.adapter_model import AdapterModel
from modeconn.models.encoded import EncodedTask
from modeconn.models.family import Classifier, Family, reads_packed
from modeconn.models.heads import without_classes
from modeconn.models.image_reader import image_facts
from modeconn.models.loading import guess_task_type
from modeconn.models.packable import with_all_positions, without_packing
from modeconn.runs import RunFolder
from modeconn.runs.processes import Processes
from modeconn.tasks.encoding import EncodingSettings
from modeconn.tasks.labels import union_of_labels
from modeconn.tasks.task import Task


def prepared(folder: RunFolder, base_model: str | Path, tasks: Sequence[Task], settings: TrainSettings) -> Run:
    """Load the base, make the learner, encode the tasks, and record what decides the numbers beside the settings.

    Args:
        folder: The run folder, opened.
        base_model: Folder or hub id of the base.
        tasks: The tasks in order.
        settings: How to train.

    Raises:
        ModeconnError: If the base model or a task cannot be used.
    """
    torch.manual_seed(settings.seed)  # a new head's weights
    task_type = settings.task_type or guess_task_type(base_model)
    device = folder.processes.device(settings.device)
    labels = classes_of(tasks) if task_type in CLASSIFIERS else ()
    model = AdapterModel.from_pretrained(base_model, task_type=task_type, labels=labels or None, device=device)
    check_trainable(model.module, task_type)
    splits = Splits.of(model, tasks, settings)
    folder.record(
        device=device,
        dtype="float32",
        seeds={"seed": settings.seed},
        hashes={"base model": model.fingerprint},
        truncated_train_examples={one.task: one.num_truncated for one in splits.train},
        truncated_eval_examples={one.task: one.num_truncated for one in splits.evaluation},
        left_out_examples={task.name: task.num_left_out for task in tasks if task.left_out},
        **image_facts(model.tokenizer),
    )
    return assembled(model, learner(model, settings), splits, settings, processes=folder.processes)


@dataclass(frozen=True, eq=False)
class Splits:
    """The tasks as tokens, each task apart.

    Attributes:
        train: The training splits, one row an example.
        evaluation: The splits that the score matrix is measured on.
        validation: The validation splits as training reads them, where a task may end early.
        selection: The validation splits as evaluation reads them, where a method chooses by them.
    """

    train: Sequence[EncodedTask]
    evaluation: Sequence[EncodedTask]
    validation: Sequence[EncodedTask] = field(default=())
    selection: Sequence[EncodedTask] = field(default=())

    @classmethod
    def of(cls, model: AdapterModel, tasks: Sequence[Task], settings: TrainSettings) -> Self:
        """All that the settings ask for.

        Raises:
            ModelError: If labels are to be masked, and the model has no classes.
            TaskError: If a split is missing, or an example cannot be encoded.
        """
        if settings.train_mask_labels and not isinstance(model.family, Classifier):
            raise without_classes("train_mask_labels (--train-mask-labels)", model.family.task_type)
        evaluation, training = evaluation_encoding(settings), training_encoding(settings)
        split = settings.validation_split
        validation = tasks if settings.early_stopping_patience else []
        chosen_by = tasks if settings.made_method().chooses_on_validation else []
        return cls(
            evaluation=[model.encode(task, settings.eval_split, evaluation) for task in tasks],
            train=[model.encode(task, "train", training) for task in tasks],
            validation=[model.encode(task, split, training) for task in validation],
            selection=[model.encode(task, split, evaluation) for task in chosen_by],
        )


def assembled(
    model: AdapterModel,
    trained: Learner,
    splits: Splits,
    settings: TrainSettings,
    *,
    processes: Processes | None = None,
) -> Run:
    """A run of these parts, with tasks that are trained together as one; its method is not started.

    Args:
        model: The base model.
        trained: The learner.
        splits: The tasks.
        settings: How to train.
        processes: Those that share the run; by default there is one.

    Raises:
        ModelError: If activations are to be recomputed, and the model cannot do that.
    """
    method = settings.made_method()
    if settings.gradient_checkpointing:
        recompute_activations(trained.module)
    stages = method.stages(len(splits.train))
    train_sets = [pooled([splits.train[number - 1] for number in stage]) for stage in stages]
    validation_sets = [[splits.validation[number - 1] for number in stage] for stage in stages if splits.validation]
    return Run(
        model,
        trained,
        settings,
        _training_family(model, trained, settings, whole=method.reads_hidden_states),
        train_sets,
        splits.evaluation,
        validation_sets,
        splits.selection,
        processes=processes or Processes(),
    )


def _training_family(model: AdapterModel, trained: Learner, settings: TrainSettings, *, whole: bool) -> Family:
    """How the learner is called in training.

    Args:
        model: The base model.
        trained: The learner.
        settings: How to train.
        whole: Whether the last layer's output is needed at all positions.
    """
    if not settings.packing or not reads_packed(trained.module):
        return without_packing(model.family)
    whole = whole or settings.gradient_checkpointing  # a layer that is run again knows nothing of scored positions
    return with_all_positions(model.family) if whole else model.family


def evaluation_encoding(settings: TrainSettings) -> EncodingSettings:
    """How the rows are made that the score matrix is measured on."""
    return EncodingSettings(
        max_length=settings.max_length,
        score_eos=settings.eval_score_eos,
        token_budget=settings.token_budget,
        mask_labels=settings.mask_labels,
        separator=settings.separator,
    )


def classes_of(tasks: Sequence[Task]) -> tuple[str, ...]:
    """The classes of a classifier's head: all labels of all tasks.

    Raises:
        TaskError: If a task has no label set.
    """
    free = [task.name for task in tasks if not task.labels]
    if free:
        raise TaskError(
            "a classifier cannot be trained on free answers",
            expected="tasks with a label set",
            got=f"none in {listed(free)}",
            remedy="list the labels in task.json, or train a model that writes: --task-type CAUSAL_LM or SEQ_2_SEQ_LM",
        )
    return union_of_labels(tasks)
