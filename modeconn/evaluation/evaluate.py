"""Evaluating a path: points to per-example numbers to a profile."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from modeconn.errors import EvaluationError
from modeconn.evaluation.barrier import check_positions
from modeconn.evaluation.own_heads import OneHead, by_head, joined
from modeconn.evaluation.path_sweep import PathSweep, Progress
from modeconn.evaluation.profile import Profile
from modeconn.evaluation.records import PointStore
from modeconn.evaluation.resolution import resolve_path
from modeconn.evaluation.resolve import Target
from modeconn.models.point_model import PointModel
from modeconn.paths.path import Path
from modeconn.tasks.encoding import EncodingSettings
from modeconn.tasks.task import Task

__all__ = ["PointStore", "Progress", "check_tasks", "evaluate_path", "grid", "positions_asked"]


def evaluate_path(
    path: Path,
    model: PointModel,
    tasks: Sequence[Any],
    *,
    num_points: int = 21,
    t: ArrayLike | None = None,
    tolerance: float | None = None,
    absolute_tolerance: float | None = None,
    split: str = "test",
    settings: EncodingSettings | None = None,
    check: bool = True,
    store: PointStore | None = None,
    progress: Progress | None = None,
) -> Profile:
    """Evaluate all tasks at positions along a path.

    Every position sees the same batches in the same order. Before the sweep, both ends are compared with the
    adapters loaded in plain PEFT, and one batch is evaluated twice. After it, where the model rounds its products
    (`matmul_precision`), the ends and each task's highest position are measured in float32, too.

    Args:
        path: The path.
        model: The model.
        tasks: The tasks; their names must differ.
        num_points: Evenly spaced positions, ends included, where neither `t` nor a tolerance is given.
        t: The positions themselves instead, increasing from 0 to 1.
        tolerance: Chebyshev nodes instead, as many as every task's mean loss needs to be known between them to this
            share of its range along the path: 0.0025 is a quarter of a percent. See `Profile.resolution`.
        absolute_tolerance: The same in nats; of two tolerances, the larger counts.
        split: Which split of every task.
        settings: How examples become tokens.
        check: Whether to compare the ends with plain PEFT; turn it off only where that was done before.
        store: Keeps finished points.
        progress: Called as `progress(done, total, what)` after every position.

    Returns:
        The profile.

    Raises:
        EvaluationError: If the positions are not increasing from 0 to 1 or come with a tolerance, a tolerance is not
            positive, the ends are not the adapters, the model is not deterministic, or a loss is not finite.
        ModelError: If the path's points do not fit the model.
        TaskError: If a task lacks the split or cannot be encoded.

    Example:
        Of two adapter folders `a` and `b`, a base model and folders with tasks::

            line = LinearPath(Adapter.from_pretrained(a), Adapter.from_pretrained(b))
            model = AdapterModel.from_pretrained(base, adapters=line.points)
            profile = evaluate_path(line, model, [Task.load(folder) for folder in folders])
            profile.barriers()
    """
    check_tasks(tasks)
    asked = positions_asked(num_points=num_points, t=t, tolerance=tolerance, absolute_tolerance=absolute_tolerance)
    parts = by_head(path, model, tasks) if path.heads == "own" else [OneHead(path, model, list(tasks), "start")]
    options: dict[str, Any] = {"split": split, "settings": settings, "check": check}
    options |= {"store": store, "progress": progress}
    sweeps = [PathSweep(one.path, one.model, one.tasks, **options) for one in parts]
    resolved: dict[str, Any] = {}
    if isinstance(asked, Target):
        resolved["resolution"], resolved["curves"] = resolve_path(path, sweeps, asked)
    else:
        for sweep in sweeps:
            sweep.visit(asked.tolist())
    profiles = [sweep.profile() for sweep in sweeps]
    profile = joined(profiles, parts) if path.heads == "own" else profiles[0]
    products = [found for sweep in sweeps if (found := sweep.products()) is not None]
    return replace(profile, **resolved, products=pd.concat(products, ignore_index=True) if products else None)


def positions_asked(
    *,
    num_points: int = 21,
    t: ArrayLike | None = None,
    tolerance: float | None = None,
    absolute_tolerance: float | None = None,
) -> np.ndarray | Target:
    """Where on a path an evaluation goes, or how exact a profile is wanted that chooses its positions itself.

    Args:
        num_points: As for `evaluate_path`.
        t: As for `evaluate_path`.
        tolerance: As for `evaluate_path`.
        absolute_tolerance: As for `evaluate_path`.

    Returns:
        The positions, `[T]`, or the target.

    Raises:
        EvaluationError: If the positions are not increasing from 0 to 1 or come with a tolerance, there are fewer than
            two, or a tolerance is not positive.
    """
    if tolerance is None and absolute_tolerance is None:
        return check_positions(t) if t is not None else grid(num_points)
    if t is not None:
        raise EvaluationError(
            "the positions on the path are asked for in two ways",
            expected="positions t, or a tolerance, which chooses them itself",
            got="both",
            remedy="leave out t to resolve the profile, or the tolerance to evaluate these positions only",
        )
    return Target(tolerance, absolute_tolerance)


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
            remedy="use num_points=21; a rough profile needs more, a first look fewer",
        )
    return np.linspace(0.0, 1.0, num_points)


def check_tasks(tasks: Sequence[Task], *, split: str | None = None) -> None:
    """Raise unless there is a task, and all have different names, and a split if one is named.

    Raises:
        EvaluationError: If there is none, or two have one name.
        TaskError: If one lacks the split.
    """
    names = [task.name for task in tasks]
    if not names or len(set(names)) < len(names):
        raise EvaluationError(
            "the tasks cannot be told apart" if names else "there is no task",
            expected="at least one task, each with a name of its own",
            got=", ".join(names) or "none",
            remedy="name the tasks: Task.load(folder, name=...)" if names else "give --tasks",
        )
    if split is not None:
        for task in tasks:
            task.split(split)
