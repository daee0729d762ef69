"""Training on tasks in sequence: a checkpoint after each, and how well every task is served by it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from modeconn.continual.ability import check_ability, check_measurable, write_ability
from modeconn.continual.methods.method import Sequential
from modeconn.continual.preparing import prepared
from modeconn.continual.sequence import Progress, TaskSequence
from modeconn.continual.settings import TrainSettings
from modeconn.continual.tracking import check_trackers
from modeconn.errors import RunError, listed
from modeconn.evaluation.evaluate import check_tasks
from modeconn.runs import RunFolder, read_csv, refuse_inputs_inside, resolved
from modeconn.runs.processes import Processes
from modeconn.tasks.task import Task


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
    processes: Processes | None = None,
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
        processes: Those that a launcher started; they share the examples of every step, which stay the same.
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
    folders = folder_names(tasks)
    names = [folders[stage[-1] - 1] for stage in chosen.stages(len(tasks))]
    settings.for_task(1, len(names))
    check_trackers(settings.report_to)
    check_ability(settings)
    processes = processes or Processes()
    refuse_inputs_inside(output_dir, [base_model])
    run = RunFolder.open(
        output_dir,
        command="train",
        settings={"base_model": resolved(base_model), "tasks": [task.name for task in tasks], **settings.recorded()},
        hashes={f"task {task.name}": task.fingerprint for task in tasks},
        overwrite=overwrite,
        processes=processes,
    )
    finished_before = run.finished
    if not finished_before:
        with run:
            made = prepared(run, base_model, tasks, settings)
            if settings.lm_eval:
                check_measurable(made)
            TaskSequence(run, made, names, progress).train()
            if settings.lm_eval:
                run.processes.from_main(
                    lambda: write_ability(run, made.model, [run.folder / name for name in names], settings)
                )
    others = {name: tuple(run.folder / f"{after}-{name}" for after in names) for name in chosen.other_results()}
    checkpoints = tuple(run.folder / name for name in names)
    return TrainRun(checkpoints, read_csv(run.folder / "scores.csv"), finished_before, others)


def folder_names(tasks: Sequence[Task]) -> list[str]:
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
