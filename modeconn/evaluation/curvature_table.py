"""Loss, slope and curvature of tasks along a line, as one table."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from modeconn.errors import EvaluationError, PathError
from modeconn.evaluation.evaluate import evaluate_path
from modeconn.evaluation.progress import Progress
from modeconn.evaluation.records import PointStore
from modeconn.models.point_model import PointModel
from modeconn.paths.line import LinearPath
from modeconn.tasks.encoding import EncodingSettings

_LEAST = 3


def curvature_along(
    line: LinearPath,
    model: PointModel,
    tasks: Sequence[Any],
    *,
    num_points: int = 21,
    split: str = "test",
    encoding: EncodingSettings | None = None,
    store: PointStore | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Loss, slope and curvature of every task along a line, by differences of neighbouring positions.

    `(L(t - h) - 2 L(t) + L(t + h)) / (h d)^2` with the spacing h and the distance d of the ends: the second derivative
    by the length, averaged over the two intervals beside t. Unlike that of a polynomial through the positions it is no
    less exact near the ends. Rounding of the losses by e adds up to `4 e / (h d)^2`.

    Args:
        line: The line.
        model: The model.
        tasks: The tasks; all examples of the split are read.
        num_points: Evenly spaced positions, ends included.
        split: Which of their splits.
        encoding: How examples become tokens.
        store: Keeps finished points.
        progress: Called as `progress(done, total, what)` after every position.

    Returns:
        path, space, task, split, t, distance (from the start), loss (nats), slope (dL / ds) and curvature
        (d^2 L / ds^2); the last two are missing at the ends.

    Raises:
        EvaluationError: As `evaluate_path`, or if there are fewer than 3 positions.
        PathError: If the ends are one place.
    """
    check_count(num_points)
    options: dict[str, Any] = {"split": split, "settings": encoding, "store": store, "progress": progress}
    profile = evaluate_path(line, model, tasks, num_points=num_points, **options)
    span = float(profile.frame["distance"].to_numpy(dtype=float).max())
    if not span > 0:
        raise PathError(
            f"the line {line.name!r} has no curvature",
            expected="two places",
            got="ends that are the same",
            remedy="give two different checkpoints",
        )
    tables = [own.sort_values("t") for _, own in profile.frame.groupby("task", sort=False)]
    return pd.concat([_with_derivatives(own, span / (num_points - 1)) for own in tables], ignore_index=True)


def check_count(num_points: int) -> None:
    """Raise unless there are neighbours on both sides of a position.

    Raises:
        EvaluationError: If there are not.
    """
    if num_points < _LEAST:
        raise EvaluationError(
            "no curvature from so few positions",
            expected=f"{_LEAST} positions or more",
            got=f"num_points={num_points}",
            remedy="take 21",
        )


def _with_derivatives(own: pd.DataFrame, step: float) -> pd.DataFrame:
    """The profile of one task with what its differences say; `step` is the distance of neighbours."""
    loss = own["loss"].to_numpy(dtype=float)  # [T]
    slope, curvature = np.full((2, len(loss)), np.nan)
    slope[1:-1] = (loss[2:] - loss[:-2]) / (2 * step)
    curvature[1:-1] = np.diff(loss, 2) / step**2
    kept = own.loc[:, ["path", "space", "task", "split", "t", "distance", "loss"]]
    return kept.assign(slope=slope, curvature=curvature)
