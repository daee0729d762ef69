"""Training on tasks in sequence: a checkpoint after each, and how well every task is served by it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from modeconn.adapters.adapter import Adapter
from modeconn.continual.methods.method import Sequential
from modeconn.continual.preparing import prepared
from modeconn.continual.run import Run
from modeconn.continual.scores import SCORE_COLUMNS
from modeconn.continual.settings import TrainSettings
from modeconn.continual.share import shares
from modeconn.continual.state import TrainState, load_state, save_state
from modeconn.continual.task_work import TaskWork, check_finite
from modeconn.errors import RunError, listed
from modeconn.evaluation.evaluate import check_tasks
from modeconn.models.encoded import EncodedTask, ExampleSums
from modeconn.runs import RunFolder, read_csv, refuse_inputs_inside, resolved
from modeconn.tasks.task import Task

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class TrainRun:
    """What a training run left.

    Attributes:
        checkpoints: Adapter folders, one after each task, in order; one after all where the method trains all at once.
        scores: The score matrix as a table: method, adapter, seed, after_task, task, metric, score. Row `after_task=0`
            is before any training; metric "loss" is in nats per scored token.
        finished_before: Whether it was all there already and nothing was trained now.
        others: What else the method saved after every task, by name: I-LoRA's fast learner.
    """

    checkpoints: tuple[Path, ...]
    scores: pd.DataFrame
    finished_before: bool = False
    others: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)


def train(
    output_dir: str | Path,
    base_model: str | Path,
    tasks: Sequence[Task],
    *,
    settings: TrainSettings | None = None,
    method: Sequential | str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    **overrides: Any,  # noqa: ANN401  (fields of TrainSettings)
) -> TrainRun:
    """Train one adapter on tasks in sequence and keep it after each.

    A finished run is not trained again; an interrupted one goes on after its last whole task, or its last kept state
    (`save_steps`), and ends with the same bits as an uninterrupted one on a CPU.

    The loss of a step is the sum of nats over all its batches divided by their scored tokens, and a method's penalties
    count once a step: the same examples in more and smaller batches (`gradient_accumulation_steps`) make the same step.

    Args:
        output_dir: The run folder.
        base_model: Folder or hub id of the base.
        tasks: The tasks in order.
        settings: How to train.
        method: A training method with its settings, such as `ILoRA(decay=0.99)`, or a name, in place of that in
            `settings`.
        overwrite: Whether to replace a former run there.
        progress: Called as `progress(done, total, what)` after every step.
        overrides: Fields of `TrainSettings`, instead of `settings`.

    Returns:
        The checkpoints and the score matrix.

    Raises:
        ModeconnError: If the folder, the base model or a task cannot be used, or the loss is not finite.
    """
    settings = settings or TrainSettings(**overrides)
    if isinstance(method, str):
        settings = replace(settings, method=method)
    elif method is not None:
        settings = replace(settings, method=method.name, method_options=method.settings)
    chosen = settings.made_method()
    folders = _folder_names(tasks)
    names = [folders[stage[-1] - 1] for stage in chosen.stages(len(tasks))]
    settings.for_task(1, len(names))
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
            scores = _Training(run, prepared(run, base_model, tasks, settings), names, progress).train()
            run.write_csv(scores, "scores.csv")
    others = {name: tuple(run.folder / f"{after}-{name}" for after in names) for name in chosen.other_results()}
    checkpoints = tuple(run.folder / name for name in names)
    return TrainRun(checkpoints, read_csv(run.folder / "scores.csv"), finished_before, others)


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


class _Training:
    """One run of tasks in sequence.

    Args:
        folder: The run folder, opened.
        run: Model, learner and tasks.
        names: The folders of the checkpoints.
        progress: Called after every step.
    """

    def __init__(self, folder: RunFolder, run: Run, names: Sequence[str], progress: Progress | None) -> None:
        self.folder, self.run, self.names, self.progress = folder, run, names, progress
        self.method = run.settings.made_method().start(run)
        self.after = [stage[-1] for stage in self.method.stages(len(run.eval_sets))]  # tasks, at each checkpoint

    def train(self) -> pd.DataFrame:
        """Train task after task; returns the score matrix as a table."""
        state = load_state(self.folder)
        if state is None:
            state = TrainState(scores=self._score_rows(0, self.run.scores(self.run.eval_sets)))
        else:
            self.run.load(state.weights)
            self.method.restore(state.method)
        while state.task <= len(self.names):
            if not state.trained:
                self._train_task(state)
                self._save_checkpoints(self.names[state.task - 1])
                state.trained, state.within = True, {}
                self._keep(state)
            state.scores += self._score_rows(self.after[state.task - 1], self._scores(state.task))
            state.task, state.step, state.trained = state.task + 1, 0, False
            self._keep(state)
        lines = [json.dumps(one) for one in state.log]
        self.folder.write_text("".join(f"{line}\n" for line in lines), "losses.jsonl")
        self.folder.record(**self.method.facts())
        return pd.DataFrame(state.scores, columns=SCORE_COLUMNS)

    def _train_task(self, state: TrainState) -> None:
        """All steps of a task that are left: a fresh optimiser and schedule, and seeds that only the task decides."""
        work = TaskWork(self.run, state.task)
        if state.within:
            work.restore(state.within)
        else:
            self.method.start_task(state.task)
        self.run.learner.module.train()
        while (rows := work.rows(state.step)) is not None:
            self.method.start_step(rows)
            parts = self._backward(work.data, rows)
            self.method.adjust_gradients()
            work.update()
            self.method.after_step()
            state.step += 1
            check_finite(parts, work.data.task, state.step)
            state.log.append({"task": work.data.task, "step": state.step, **parts, "learning_rate": work.rate})
            work.end_step(state.step)
            if self.progress:
                what = f"task {state.task} of {len(self.names)}: {work.data.task}"
                self.progress(state.step, work.num_steps, what)
            if self.run.settings.save_steps and state.step % self.run.settings.save_steps == 0:
                state.within = work.state()
                self._keep(state)
        self.run.learner.module.eval()
        work.take_best()
        self.method.end_task(state.task)

    def _backward(self, data: EncodedTask, rows: Sequence[int]) -> dict[str, float]:
        """The gradients of one step: nats per token over all its batches, and every penalty once; returns the parts."""
        size = self.run.settings.per_device_train_batch_size
        groups = [[(data, row) for row in rows], list(self.method.replayed())]
        tokens = sum(len(split.rows.rows[row].targets) for group in groups for split, row in group)
        parts: dict[str, float] = {"loss": 0.0}
        for replayed, group in enumerate(groups):
            batches = [self.run.batch(group[first : first + size]) for first in range(0, len(group), size)]
            for batch, share in zip(batches, shares(batches), strict=True):
                with self.run.autocast():
                    logits = self.run.logits(batch)
                    loss = self.run.losses(batch, logits).sum() / tokens
                    penalty = self.method.batch_penalty(batch, logits, replayed=bool(replayed), share=share)
                (loss if penalty is None else loss + penalty).backward()
                parts["loss"] += loss.item()
                if penalty is not None:
                    parts["penalty"] = parts.get("penalty", 0.0) + penalty.item()
        penalty = self.method.weight_penalty()
        if penalty is not None:
            penalty.backward()
            parts["weight_penalty"] = penalty.item()
        return parts

    def _save_checkpoints(self, name: str) -> None:
        """The method's result under the task's name, and what else it has beside it."""
        for suffix, result in {"": self.method.result(), **self.method.others()}.items():
            folder = f"{name}-{suffix}" if suffix else name
            with self.folder.replacing(folder) as temporary:
                self.run.save(result, temporary)

    def _scores(self, newest: int) -> list[ExampleSums]:
        """Every task at the checkpoint that answers it, once there are `newest` of them."""
        splits = self.run.eval_sets
        serving = [self.method.checkpoint_for(task, newest) for task in range(1, len(splits) + 1)]
        found: dict[int, ExampleSums] = {}
        for number in sorted(set(serving)):
            point = Adapter.from_pretrained(self.folder.folder / self.names[number - 1])
            tasks = [task for task, one in enumerate(serving) if one == number]
            scored = self.run.model.evaluate(point, [splits[task] for task in tasks])
            found |= dict(zip(tasks, scored, strict=True))
        return [found[task] for task in range(len(splits))]

    def _keep(self, state: TrainState) -> None:
        """Keep the state as it is now."""
        state.weights, state.method = self.run.weights(), self.method.state()
        save_state(self.folder, state)

    def _score_rows(self, after_task: int, scored: Sequence[ExampleSums]) -> list[tuple[Any, ...]]:
        """Rows of the score matrix."""
        settings, rows = self.run.settings, []
        prefix = (settings.method, settings.adapter, settings.seed, after_task)
        for split, sums in zip(self.run.eval_sets, scored, strict=True):
            rows.append((*prefix, split.task, split.metric, float(sums.score.mean())))
            rows.append((*prefix, split.task, "loss", float(sums.loss_sum.sum() / sums.num_tokens.sum())))
        return rows
