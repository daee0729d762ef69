"""Evaluating a path: points to per-example numbers to a profile."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from modeconn.errors import EvaluationError
from modeconn.evaluation.barrier import check_positions
from modeconn.evaluation.gate import check_ends, check_finite, check_repeatable
from modeconn.evaluation.keys import point_keys
from modeconn.evaluation.own_heads import by_head, joined
from modeconn.evaluation.profile import Profile
from modeconn.models.point_model import Encoded, PointModel
from modeconn.paths.path import Path
from modeconn.tasks.encoding import EncodingSettings
from modeconn.tasks.task import Task

Progress = Callable[[int, int, str], None]


class PointStore(Protocol):
    """Keeps the records of finished points, so that an interrupted evaluation goes on where it was."""

    def load(self, key: str) -> pd.DataFrame | None:
        """The records kept under a key, or None."""
        ...

    def save(self, key: str, records: pd.DataFrame) -> None:
        """Keep records under a key."""
        ...


def evaluate_path(
    path: Path,
    model: PointModel,
    tasks: Sequence[Any],
    *,
    num_points: int = 21,
    t: ArrayLike | None = None,
    split: str = "test",
    settings: EncodingSettings | None = None,
    check: bool = True,
    store: PointStore | None = None,
    progress: Progress | None = None,
) -> Profile:
    """Evaluate all tasks at positions along a path.

    Every position sees the same batches in the same order. Before the sweep, both ends are compared with the
    adapters loaded in plain PEFT, and one batch is evaluated twice.

    Args:
        path: The path.
        model: The model.
        tasks: The tasks; their names must differ.
        num_points: Evenly spaced positions, ends included.
        t: The positions themselves instead, increasing from 0 to 1.
        split: Which split of every task.
        settings: How examples become tokens.
        check: Whether to compare the ends with plain PEFT; turn it off only where that was done before.
        store: Keeps finished points.
        progress: Called as `progress(done, total, what)` after every position.

    Returns:
        The profile.

    Raises:
        EvaluationError: If the positions are not increasing from 0 to 1, the ends are not the adapters, the model
            is not deterministic, or a loss is not finite.
        ModelError: If the path's points do not fit the model.
        TaskError: If a task lacks the split or cannot be encoded.

    Example:
        Of two adapter folders `a` and `b`, a base model and folders with tasks::

            line = LinearPath(Adapter.from_pretrained(a), Adapter.from_pretrained(b))
            model = AdapterModel.from_pretrained(base, adapters=line.points)
            profile = evaluate_path(line, model, [Task.load(folder) for folder in folders])
            profile.barriers()
    """
    positions = check_positions(t) if t is not None else grid(num_points)
    check_tasks(tasks)
    if path.heads == "own":
        parts = by_head(path, model, tasks)
        options: dict[str, Any] = {"t": positions, "split": split, "settings": settings, "check": check}
        options |= {"store": store, "progress": progress}
        return joined([evaluate_path(one.path, one.model, one.tasks, **options) for one in parts], parts)
    for point in path.points:
        model.check(point)
    path = path.on(model)
    encoded = [model.encode(task, split, settings) for task in tasks]
    checks: dict[str, Any] = {"repeatable_within": check_repeatable(model, path.start, encoded)}
    checks["truncated_examples"] = {one.task: one.num_truncated for one in encoded}
    if path.heads:
        checks["heads"] = path.heads
    if check:
        checks["ends_agree_with_peft_within"] = check_ends(model, [path.start, path.end], encoded)
    keys = point_keys(path, model, encoded, positions.tolist()) if store else [""] * len(positions)
    records = []
    for done, (position, key) in enumerate(zip(positions.tolist(), keys, strict=True)):
        if progress:
            progress(done, len(positions), path.name)
        kept = store.load(key) if store else None
        if kept is None:
            kept = _evaluate_position(path, model, encoded, position)
            if store:
                store.save(key, kept)
        records.append(kept)
    if progress:
        progress(len(positions), len(positions), path.name)
    return Profile.from_examples(
        pd.concat(records, ignore_index=True),
        space=path.space,
        split=split,
        metrics={one.task: one.metric for one in encoded},
        distances={position: path.distance(position) for position in positions.tolist()},
        checks={path.name: checks},
    )


def grid(num_points: int) -> np.ndarray:
    """Evenly spaced positions from 0 to 1, `[num_points]`.

    Raises:
        EvaluationError: Below 2 points.
    """
    if num_points < 2:
        raise EvaluationError(
            "too few points on the path",
            expected="num_points of at least 2: both ends",
            got=f"num_points={num_points}",
            remedy="use num_points=21, or more for a rough profile",
        )
    return np.linspace(0.0, 1.0, num_points)


def check_tasks(tasks: Sequence[Task]) -> None:
    """Raise unless there is a task, and all have different names.

    Raises:
        EvaluationError: If there is none, or two have one name.
    """
    names = [task.name for task in tasks]
    if not names or len(set(names)) < len(names):
        raise EvaluationError(
            "the tasks cannot be told apart" if names else "there is no task",
            expected="at least one task, each with a name of its own",
            got=", ".join(names) or "none",
            remedy="name the tasks: Task.load(folder, name=...)" if names else "give --tasks",
        )


def _evaluate_position(path: Path, model: PointModel, encoded: Sequence[Encoded], position: float) -> pd.DataFrame:
    """The records of all tasks at one position."""
    frames = []
    for split, sums in zip(encoded, model.evaluate(path(position), encoded), strict=True):
        check_finite(sums.loss_sum, f"{split.task}/{split.split} at t={position:g}")
        frames.append(
            pd.DataFrame({
                "path": path.name,
                "task": split.task,
                "t": position,
                "example": np.arange(split.num_examples),
                "loss_sum": sums.loss_sum,
                "num_tokens": sums.num_tokens,
                "score": sums.score,
            })
        )  # fmt: skip
    return pd.concat(frames, ignore_index=True)
