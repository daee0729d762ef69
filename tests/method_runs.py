"""Short runs of two tasks on tiny models, and what must hold for every training method."""

import json
from pathlib import Path
from typing import Any

import pytest
from evaluation_tasks import make_task

import modeconn as mc
from modeconn.continual import TrainRun, train
from modeconn.continual.methods import Sequential
from modeconn.continual.preparing import prepared
from modeconn.continual.run import Run
from modeconn.continual.settings import TrainSettings
from modeconn.continual.share import shares
from modeconn.runs import RunFolder

SHORT: dict[str, Any] = {"num_train_epochs": 2, "learning_rate": 2e-2, "per_device_train_batch_size": 8}
SEQUENCE = [make_task("first", 0), make_task("second", 1)]
NUM_STEPS = 6  # a task


def tiny_run(folder: Path, base: Path, tasks: list[mc.Task] = SEQUENCE, **settings: Any) -> Run:
    """Model, learner and tasks, as methods see them."""
    with RunFolder.open(folder, command="train", settings={}) as opened:
        return prepared(opened, base, tasks, TrainSettings(**{**SHORT, **settings}))


def short_train(folder: Path, base: Path, method: Sequential, **settings: Any) -> TrainRun:
    """A run of two tasks."""
    return train(folder, base, SEQUENCE, method=method, **{**SHORT, **settings})


def points(run: TrainRun) -> list[mc.Adapter]:
    """The checkpoints."""
    return [mc.Adapter.from_pretrained(folder) for folder in run.checkpoints]


def fingerprints(run: TrainRun) -> list[str]:
    """What the checkpoints do."""
    return [point.fingerprint for point in points(run)]


def loss_of(run: TrainRun, after_task: int, task: str) -> float:
    """A cell of the score matrix of losses."""
    return float(run.scores.set_index(["after_task", "task", "metric"])["score"].loc[after_task, task, "loss"])


def log_of(run: TrainRun) -> list[dict[str, float]]:
    """The loss parts of every step."""
    return [json.loads(line) for line in (run.checkpoints[0].parent / "losses.jsonl").read_text().splitlines()]


def check_resumes(folder: Path, base: Path, method: Sequential, *, at_step: int = 5, **settings: Any) -> None:
    """Killed in the second task and started again, a run ends with the bits of a straight one."""

    def interrupt(done: int, total: int, what: str) -> None:
        del total
        if "second" in what and done == at_step:
            raise KeyboardInterrupt

    settings = {"save_steps": 2, "lora_dropout": 0.1, **settings}
    with pytest.raises(KeyboardInterrupt):
        short_train(folder / "parts", base, method, progress=interrupt, **settings)
    resumed = short_train(folder / "parts", base, method, **settings)
    straight = short_train(folder / "straight", base, method, **settings)
    assert fingerprints(resumed) == fingerprints(straight)
    assert log_of(resumed) == log_of(straight)


def check_accumulates(folder: Path, base: Path, method: Sequential) -> None:
    """Smaller batches make the same steps; the base model must have no dropout."""
    runs = []
    for size in (8, 2):
        settings = {"per_device_train_batch_size": size, "gradient_accumulation_steps": 8 // size}
        runs.append(short_train(folder / f"{size}", base, method, **settings))
    first, second = (points(run)[-1] for run in runs)
    assert (first - second).norm() < 1e-4 * first.norm()
    for one, other in zip(*map(log_of, runs), strict=True):
        del one["task"], other["task"]
        assert one == pytest.approx(other, rel=2e-3, abs=1e-5)


def penalty_in_parts(run: Run, method: Sequential, rows: list[int], size: int, *, replayed: bool = False) -> float:
    """The penalty of a step on rows of the second task, in batches of a size, without dropout."""
    run.learner.module.eval()
    references = [(run.train_sets[1], row) for row in rows]
    batches = [run.batch(references[first : first + size]) for first in range(0, len(rows), size)]
    found = [
        method.batch_penalty(batch, run.logits(batch), replayed=replayed, share=share)
        for batch, share in zip(batches, shares(batches), strict=True)
    ]
    return sum(one.item() for one in found if one is not None)
