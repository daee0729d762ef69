"""Evaluating a simplex: loss and score at its corners and at uniform points inside, and its volume."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch

from modeconn.adapters.adapter import Adapter
from modeconn.errors import EvaluationError
from modeconn.evaluation.evaluate import PointStore, Progress, check_tasks
from modeconn.evaluation.surface import Sweep
from modeconn.models.point_model import PointModel
from modeconn.paths.path import Space
from modeconn.paths.simplex import Simplex
from modeconn.tasks.encoding import EncodingSettings

SIMPLEX_COLUMNS = (
    "simplex", "space", "task", "split", "role", "name", "loss", "score", "metric", "num_examples", "num_tokens",
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class SimplexProfile:
    """What a simplex of checkpoints holds.

    Attributes:
        frame: One row for each task and point: `SIMPLEX_COLUMNS`, then the barycentric weights `weight_0`, ... of the
            corners. The role is "corner" or "sample".
        volume: The (n - 1)-dimensional volume of n corners, in the unit of an L2 norm to that power.
        seed: The seed of the samples.
        checks: What was checked before: agreement of the corners with PEFT, repeatability, cut prompts.
    """

    frame: pd.DataFrame
    volume: float
    seed: int
    checks: Mapping[str, Any] = field(default_factory=dict)

    def summary(self) -> pd.DataFrame:
        """One row a task over its uniform samples.

        `mean_loss` estimates the mean over the simplex, `worst_loss` is the worst of `num_samples` points only: a
        higher one may lie between them. `worst_above_corners` is the largest loss less the mean of the corners' losses
        in the weights of the point, as a barrier is over its chord; below 0 the inside lies under its corners.
        """
        names = [name for name in self.frame.columns if name.startswith("weight_")]
        rows = []
        for task, own in self.frame.groupby("task", sort=False):
            corners, samples = own.query("role == 'corner'"), own.query("role == 'sample'")
            flat = samples[names].to_numpy() @ corners["loss"].to_numpy()  # [S, n] @ [n]
            loss, score = samples["loss"].to_numpy(), samples["score"].to_numpy()
            row = {"task": task, "mean_loss": loss.mean(), "worst_loss": loss.max()}
            row |= {"worst_above_corners": (loss - flat).max(), "mean_score": score.mean(), "lowest_score": score.min()}
            row |= {"metric": corners["metric"].iloc[0], "num_samples": len(samples), "volume": self.volume}
            rows.append(row)
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        tasks = self.frame["task"].nunique()
        return f"SimplexProfile(tasks={tasks}, points={len(self.frame) // tasks}, volume={self.volume:.4g})"


def evaluate_simplex(
    points: Simplex | Sequence[Adapter],
    model: PointModel,
    tasks: Sequence[Any],
    *,
    num_samples: int = 50,
    seed: int = 0,
    space: Space = "weights",
    split: str = "test",
    settings: EncodingSettings | None = None,
    check: bool = True,
    store: PointStore | None = None,
    progress: Progress | None = None,
) -> SimplexProfile:
    """Evaluate all tasks at the corners of a simplex and at points drawn uniformly from it (Benton 2021, 2102.13042).

    Args:
        points: The simplex, or its corners.
        model: The model.
        tasks: The tasks; their names must differ.
        num_samples: Points inside, S.
        seed: Seed of the points.
        space: The coordinates, where corners are given.
        split: Which split of every task.
        settings: How examples become tokens.
        check: Whether to compare the corners with plain PEFT.
        store: Keeps finished points.
        progress: Called as `progress(done, total, what)` after every point.

    Returns:
        The table of all points, and the volume.

    Raises:
        EvaluationError: If there is no sample, the tasks cannot be told apart, a corner is not what PEFT loads, the
            model is not deterministic, or a loss is not finite.
        ModelError: If a corner does not fit the model.
        PathError: If the corners cannot be combined, or one is not finite.
        TaskError: If a task lacks the split or cannot be encoded.
    """
    check_tasks(tasks)
    _check_samples(num_samples)
    simplex = points if isinstance(points, Simplex) else Simplex(points, space=space)
    for point in simplex.points:
        model.check(point)
    simplex = simplex.on(model)
    volume = simplex.volume  # of corners that are finite
    encoded = [model.encode(task, split, settings) for task in tasks]
    sweep = Sweep(simplex.chain, model, encoded, simplex.name, "barycentric weights", store, progress)
    checks = sweep.checks(_checkpoints(simplex), against_peft=check)
    inside = simplex.sample(num_samples, generator=torch.Generator().manual_seed(seed))
    return SimplexProfile(_frame(simplex, sweep, inside), volume, seed, checks)


def _frame(simplex: Simplex, sweep: Sweep, inside: torch.Tensor) -> pd.DataFrame:
    """The table of the corners and of points inside, `[S, n]`."""
    size, found = len(simplex.points), []
    rows = torch.cat([torch.eye(size, dtype=torch.float64), inside])  # [n + S, n]
    where = ["weights " + ", ".join(f"{weight:.3f}" for weight in row) for row in rows.tolist()]
    names = [*(point.name for point in simplex.points), *(f"sample {number}" for number in range(len(inside)))]
    for number, (row, name, means) in enumerate(zip(rows.tolist(), names, sweep.means(rows, where), strict=True)):
        weights = {f"weight_{k}": weight for k, weight in enumerate(row)}
        found.append(means.assign(role="corner" if number < size else "sample", name=name, **weights))
    frame = pd.concat(found, ignore_index=True).assign(simplex=simplex.name, space=simplex.space)
    return frame.reindex(columns=[*SIMPLEX_COLUMNS, *(f"weight_{k}" for k in range(size))])


def _checkpoints(simplex: Simplex) -> list[Adapter]:
    """The corners, each once: those of a fit are adapters as well."""
    return list({point.fingerprint: point for point in simplex.points}.values())


def _check_samples(num_samples: int) -> None:
    """Raise unless there is a point inside."""
    if num_samples < 1:
        raise EvaluationError(
            "a simplex is measured at its corners only",
            expected="num_samples of at least 1",
            got=f"num_samples={num_samples}",
            remedy="use num_samples=50, or more for a rough simplex",
        )
