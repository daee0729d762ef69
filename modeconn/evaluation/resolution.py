"""A path's profiles resolved to a tolerance: which positions to visit, and the table of what came of it."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from modeconn.errors import EvaluationError
from modeconn.evaluation.interpolant import Interpolant
from modeconn.evaluation.path_sweep import PathSweep
from modeconn.evaluation.resolve import Resolved, Target, resolve
from modeconn.paths.curve import joints
from modeconn.paths.path import Path

RESOLUTION_COLUMNS = (
    "path", "task", "resolved", "tolerance", "noise_floor", "error_estimate", "num_evaluations", "num_pieces", "degree",
    "mean_over_t", "mean_over_length",
)  # fmt: skip
Curves = dict[tuple[str, str], Interpolant]


def resolve_path(path: Path, sweeps: Sequence[PathSweep], target: Target) -> tuple[pd.DataFrame, Curves]:
    """Visit the positions that all tasks need to be resolved.

    Args:
        path: The path; it is resolved piece by piece between its joints.
        sweeps: The path with each head that is needed, and its tasks.
        target: How exact the profiles have to be; its noise is that of the sweeps.

    Returns:
        The table of `Profile.resolution`, and (path, task) -> the profile as a function of t.

    Raises:
        EvaluationError: If a loss is not finite.
    """

    def measure(positions: Sequence[float]) -> dict[float, np.ndarray]:
        losses = np.concatenate([sweep.losses(positions) for sweep in sweeps], axis=1)  # [T, M]
        return dict(zip(positions, losses, strict=True))

    noisy = Target(target.relative, target.absolute, np.concatenate([sweep.noise for sweep in sweeps]))
    found = resolve(measure, noisy, joints=joints(path))
    tasks = [task for sweep in sweeps for task in sweep.tasks]
    curves = {(path.name, task): curve for task, curve in zip(tasks, found.curves, strict=True)}
    return _table(sweeps[0].path, tasks, found), curves


def _table(path: Path, tasks: Sequence[str], found: Resolved) -> pd.DataFrame:
    """One row for each task; the path is bound to the model, without which some have no length."""
    rows = [
        (path.name, *row, found.num_evaluations, len(curve.pieces), curve.degree, *_means(curve, path))
        for curve, *row in zip(
            found.curves, tasks, found.resolved, found.tolerance, found.noise_floor, found.error_estimate, strict=True
        )
    ]
    return pd.DataFrame(rows, columns=list(RESOLUTION_COLUMNS))


def _means(curve: Interpolant, path: Path) -> tuple[float, float]:
    """The mean loss over t and over the length of the path; the second is NaN where the path has none."""
    try:
        return curve.integral(), curve.mean_over_length(path)
    except EvaluationError:
        return curve.integral(), math.nan
