"""heads="own", for classifiers: a task is scored with the head of the end that knows its labels, so once a head."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.heads import with_heads_of
from modeconn.errors import EvaluationError, listed
from modeconn.evaluation.profile import Profile
from modeconn.models.point_model import PointModel
from modeconn.models.replaced_head import with_head
from modeconn.paths.path import Path


class OneHead(NamedTuple):
    """A path with one head all along, and the tasks that are scored with it.

    Attributes:
        path: The path.
        model: The model with this head.
        tasks: The tasks whose labels the head knows.
        end: "start" or "end": whose head it is.
    """

    path: Path
    model: PointModel
    tasks: list[Any]
    end: str


def by_head(path: Path, model: PointModel, tasks: Sequence[Any]) -> list[OneHead]:
    """A path with `heads="own"` as one path for each head that is needed.

    Args:
        path: The path; its points have the start's head.
        model: The model, with the start's head.
        tasks: The tasks. One whose labels both heads know is scored with the start's.

    Raises:
        EvaluationError: If no head knows a task's labels, or the ends did not record theirs.
    """
    ends = {"start": path.start, "end": path.head_of_end}
    chosen: dict[str, list[Any]] = {"start": [], "end": []}
    for task in tasks:
        labels = {label.strip() for label in task.labels or ()}
        knowing = [name for name, end in ends.items() if labels and labels <= _classes(end)]
        if not knowing:
            raise _nobody_knows(task, ends)
        chosen[knowing[0]].append(task)
    found = [OneHead(_through(path, path.points), model, chosen["start"], "start")] if chosen["start"] else []
    if chosen["end"]:
        moved = _through(path, [with_heads_of(point, path.head_of_end) for point in path.points])
        found.append(OneHead(moved, with_head(model, path.head_of_end), chosen["end"], "end"))
    return found


def _through(path: Path, points: Sequence[Adapter]) -> Path:
    """The path through other points, all with one head."""
    moved = path.with_points(points)
    moved.heads = "shared"
    return moved


def joined(profiles: Sequence[Profile], paths: Sequence[OneHead]) -> Profile:
    """The profiles of one path with different heads as one; the checks of each are kept under the head's end."""
    name = paths[0].path.name
    checks: dict[str, Any] = {"heads": "own"}
    for profile, one in zip(profiles, paths, strict=True):
        own = dict(profile.checks[name])
        checks[f"head of the {one.end}"] = {k: v for k, v in own.items() if k not in ("truncated_examples", "heads")}
        checks["truncated_examples"] = {**checks.get("truncated_examples", {}), **own["truncated_examples"]}
    return Profile(
        pd.concat([profile.frame for profile in profiles], ignore_index=True),
        pd.concat([profile.examples for profile in profiles], ignore_index=True),
        {name: checks},
    )


def _classes(point: Adapter) -> set[str]:
    """The classes that a checkpoint recorded for its head."""
    return {label.strip() for label in point.provenance.get("labels") or ()}


def _nobody_knows(task: Any, ends: dict[str, Adapter]) -> EvaluationError:  # noqa: ANN401
    """The error for a task that no head answers."""
    got = " and ".join(f"{end.name}: {listed(_classes(end))}" for end in ends.values())
    return EvaluationError(
        f"no end's head knows the labels of {task.name}",
        expected=f"a head for {listed(task.labels or ())} among those that the checkpoints recorded",
        got=got,
        remedy="train with modeconn, which records the labels of a classifier (it is for nothing else), or choose"
        ' heads="shared"',
    )
