"""Training on tasks in sequence: a checkpoint after each, and how well every task is served by it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import get_linear_schedule_with_warmup

from modeconn.adapters.adapter import Adapter
from modeconn.continual.learner import learner
from modeconn.continual.settings import TrainSettings
from modeconn.errors import EvaluationError, RunError, listed
from modeconn.evaluation.evaluate import check_tasks
from modeconn.models.adapter_model import AdapterModel
from modeconn.models.encoded import EncodedTask, ExampleSums
from modeconn.models.family import score_batch
from modeconn.models.generating import example_sums
from modeconn.models.loading import guess_task_type
from modeconn.runs import RunFolder, read_csv, refuse_inputs_inside, resolved
from modeconn.tasks.batching import shuffled_batches
from modeconn.tasks.encoding import EncodingSettings
from modeconn.tasks.labels import union_of_labels
from modeconn.tasks.task import Task

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class TrainRun:
    """What a training run left.

    Attributes:
        checkpoints: Adapter folders, one after each task, in order.
        scores: The score matrix as a table: method, adapter, seed, after_task, task, metric, score. Row `after_task=0`
            is before any training; metric "loss" is in nats per scored token.
        finished_before: Whether it was all there already and nothing was trained now.
    """

    checkpoints: tuple[Path, ...]
    scores: pd.DataFrame
    finished_before: bool = False


def train(
    output_dir: str | Path,
    base_model: str | Path,
    tasks: Sequence[Task],
    *,
    settings: TrainSettings | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    **overrides: Any,  # noqa: ANN401  (fields of TrainSettings)
) -> TrainRun:
    """Train one adapter on tasks in sequence and keep it after each.

    A finished run is not trained again; an interrupted one goes on after its last whole task, and ends with the
    same bits as an uninterrupted one on a CPU, because every task begins with a fresh optimiser and its own seed.

    Args:
        output_dir: The run folder.
        base_model: Folder or hub id of the base.
        tasks: The tasks in order.
        settings: How to train.
        overwrite: Whether to replace a former run there.
        progress: Called as `progress(done, total, what)` after every step.
        overrides: Fields of `TrainSettings`, instead of `settings`.

    Returns:
        The checkpoints and the score matrix.

    Raises:
        ModeconnError: If the folder, the base model or a task cannot be used, or the loss is not finite.
    """
    settings = settings or TrainSettings(**overrides)
    names = _folder_names(tasks)
    settings.for_task(1, len(tasks))
    refuse_inputs_inside(output_dir, [base_model])
    run = RunFolder.open(
        output_dir,
        command="train",
        settings={"base_model": resolved(base_model), "tasks": [task.name for task in tasks], **settings.recorded()},
        hashes={f"task {task.name}": task.fingerprint for task in tasks},
        overwrite=overwrite,
    )
    finished_before = run.finished
    if not finished_before:
        with run:
            scores = _Sequence(run, base_model, tasks, settings, progress).train(names)
            run.write_csv(scores, "scores.csv")
    checkpoints = tuple(run.folder / name for name in names)
    return TrainRun(checkpoints, read_csv(run.folder / "scores.csv"), finished_before)


def _folder_names(tasks: Sequence[Task]) -> list[str]:
    """The checkpoints' folders; raises unless all tasks have names of their own that can be part of one."""
    check_tasks(tasks)
    unfit = [repr(task.name) for task in tasks if set("/\\\0") & set(task.name) or task.name in (".", "..")]
    if unfit:
        raise RunError(
            "cannot name the checkpoints after the tasks",
            expected="task names that can be part of a folder's name",
            got=listed(unfit),
            remedy="name the tasks without slashes: Task.load(folder, name=...), or name in task.json",
        )
    return [f"after-{number}-{task.name}" for number, task in enumerate(tasks, start=1)]


class _Sequence:
    """One run: a base model, the adapter that is trained in its twin, and the tasks as tokens."""

    def __init__(
        self,
        run: RunFolder,
        base_model: str | Path,
        tasks: Sequence[Task],
        settings: TrainSettings,
        progress: Progress | None,
    ) -> None:
        self.run, self.tasks, self.settings, self.progress = run, tasks, settings, progress
        torch.manual_seed(settings.seed)  # a new head's weights
        task_type = settings.task_type or guess_task_type(base_model)
        labels = union_of_labels(tasks) if task_type == "SEQ_CLS" else ()
        self.model = AdapterModel.from_pretrained(
            base_model, task_type=task_type, labels=labels or None, device=settings.device
        )
        evaluation = EncodingSettings(max_length=settings.max_length, token_budget=settings.token_budget)
        training = EncodingSettings(max_length=settings.max_length, score_eos=settings.score_eos, all_choices=False)
        self.eval_sets = [self.model.encode(task, settings.eval_split, evaluation) for task in tasks]
        self.train_sets = [self.model.encode(task, "train", training) for task in tasks]
        self.learner = learner(self.model, settings)
        truncated = {one.task: one.rows.num_truncated for one in self.train_sets}
        run.record(
            device=settings.device,
            dtype="float32",
            seeds={"seed": settings.seed},
            hashes={"base model": self.model.fingerprint},
            truncated_train_examples=truncated,
            left_out_examples={task.name: task.num_left_out for task in tasks if task.left_out},
        )

    def train(self, names: Sequence[str]) -> pd.DataFrame:
        """Train task after task; returns the score matrix as a table."""
        with torch.no_grad():
            rows = self._score(0, [example_sums(self.model, self.learner.module, one) for one in self.eval_sets])
        for number, name in enumerate(names, start=1):
            folder = self.run.folder / name
            if folder.exists():  # a former start of this run got so far
                self.learner.load(folder)
            else:
                self._train_task(number)
                with self.run.replacing(name) as temporary:
                    self.learner.save(temporary)
            rows += self._score(number, self.model.evaluate(Adapter.from_pretrained(folder), self.eval_sets))
        columns = ["method", "adapter", "seed", "after_task", "task", "metric", "score"]
        return pd.DataFrame(rows, columns=columns)

    def _train_task(self, number: int) -> None:
        """One task: a fresh optimiser, a linear schedule, token-weighted cross-entropy."""
        settings, data = self.settings, self.train_sets[number - 1]
        learning_rate, num_epochs = settings.for_task(number, len(self.tasks))
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + number)
        torch.manual_seed(settings.seed * 1_000_003 + number)  # dropout
        lengths = [self.model.family.length(row) for row in data.rows.rows]
        plan = [
            rows
            for _ in range(num_epochs)
            for rows in shuffled_batches(lengths, settings.per_device_train_batch_size, generator)
        ]
        weights = list(self.learner.weights.values())
        optimizer = torch.optim.AdamW(weights, lr=learning_rate, weight_decay=settings.weight_decay)
        schedule = get_linear_schedule_with_warmup(optimizer, int(settings.warmup_ratio * len(plan)), len(plan))
        self.learner.module.train()
        for step, rows in enumerate(plan):
            loss = self._loss(data, rows, step)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, settings.max_grad_norm)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            if self.progress:
                self.progress(step + 1, len(plan), f"task {number} of {len(self.tasks)}: {data.task}")
        self.learner.module.eval()

    def _loss(self, data: EncodedTask, rows: Sequence[int], step: int) -> torch.Tensor:
        """Mean loss of a batch in nats per scored token."""
        family = self.model.family
        batch = family.collate([data.rows.rows[row] for row in rows], self.model.pad_id).to(self.model.device)
        losses, _ = score_batch(family, self.learner.module, batch)
        loss = losses.sum() / (batch.targets >= 0).sum()
        if not torch.isfinite(loss):
            raise EvaluationError(
                f"the training loss on {data.task} is not finite",
                expected="a number",
                got=f"{loss.item()} at step {step + 1}",
                remedy="lower --learning-rate; checkpoints of earlier tasks are kept",
            )
        return loss

    def _score(self, after_task: int, scored: Sequence[ExampleSums]) -> list[tuple[Any, ...]]:
        """Rows of the score matrix."""
        rows = []
        prefix = (self.settings.method, self.settings.adapter, self.settings.seed, after_task)
        for split, sums in zip(self.eval_sets, scored, strict=True):
            rows.append((*prefix, split.task, split.metric, float(sums.score.mean())))
            rows.append((*prefix, split.task, "loss", float(sums.loss_sum.sum() / sums.num_tokens.sum())))
        return rows
