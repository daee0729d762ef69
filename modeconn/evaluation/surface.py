"""A surface: what the tasks' metrics are on a grid of two directions, as tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch

from modeconn.errors import EvaluationError
from modeconn.evaluation.evaluate import PointStore, Progress
from modeconn.evaluation.processes import processes_of, shared_checks
from modeconn.evaluation.progress import tell_tokens
from modeconn.evaluation.records import Records
from modeconn.models.point_model import Encoded, PointModel
from modeconn.paths.path import Path

SURFACE_COLUMNS = (
    "surface", "unit", "space", "task", "split", "x", "y", "loss", "score", "metric", "num_examples", "num_tokens",
)  # fmt: skip
POINT_COLUMNS = ("name", "role", "t", "x", "y", "distance")


@dataclass(frozen=True, repr=False)
class Surface:
    """Metrics on a grid of two directions.

    Attributes:
        frame: One row for each task and grid point: the columns of plane.csv, then `coefficient_0`, ... of the control
            points. `unit` says what x and y count: "L2 distance", or "filter-normalised step" and of what.
        points: What is drawn in: name, role ("point", "path" or "other"), t (of a path), x, y, and the distance from
            the plane in the unit of x and y; 0 means that the numbers at (x, y) are those of the point itself.
        checks: What was checked before the sweep: agreement with PEFT, repeatability, cut prompts.
    """

    frame: pd.DataFrame
    points: pd.DataFrame
    checks: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        tasks = self.frame["task"].nunique()
        return f"Surface(tasks={tasks}, grid points={len(self.frame) // tasks})"


@dataclass(frozen=True)
class Sweep:
    """What a surface is measured on.

    Attributes:
        path: The path whose control points are combined, bound to the model.
        model: The model.
        encoded: The splits.
        name: What the table calls the surface.
        unit: What x and y count.
        store: Keeps finished points.
        progress: Called as `progress(done, total, what)` after every grid point.
    """

    path: Path
    model: PointModel
    encoded: Sequence[Encoded]
    name: str
    unit: str
    store: PointStore | None = None
    progress: Progress | None = None

    def checks(self, points: Sequence[Any], *, against_peft: bool) -> dict[str, Any]:
        """What must hold before the sweep.

        Args:
            points: The checkpoints among the control points.
            against_peft: Whether to compare them with plain PEFT.
        """
        ends = list(points) if against_peft else []
        repeatable, agreeing = shared_checks(
            self.model, self.path.start, ends, self.encoded, processes=processes_of(self.store)
        )
        found: dict[str, Any] = {"repeatable_within": repeatable}
        found["truncated_examples"] = {one.task: one.num_truncated for one in self.encoded}
        if self.path.heads:
            found["heads"] = self.path.heads
        if against_peft:
            found["points_agree_with_peft_within"] = agreeing
        return found

    def frame(
        self, lines: tuple[torch.Tensor, torch.Tensor], rows_at: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    ) -> pd.DataFrame:
        """The table of a surface.

        Args:
            lines: x and y of the grid's lines, `[X]` and `[Y]`.
            rows_at: Positions `[N]`, `[N]` -> coefficients of the control points, `[N, K]`.
        """
        x, y = (each.reshape(-1) for each in torch.meshgrid(*lines, indexing="xy"))  # [Y X] each: line by line upwards
        places = [{"x": float(a), "y": float(b)} for a, b in zip(x, y, strict=True)]
        rows = rows_at(x, y)
        tell_tokens(self.progress, self.name, self.encoded)
        records = Records(self.path, self.model, self.encoded, store=self.store)
        found = records.each(rows, ["x={x:g}, y={y:g}".format(**place) for place in places])
        tables = []
        for done, (row, place) in enumerate(zip(rows.tolist(), places, strict=True)):
            self._report(done, len(rows))
            own = {f"coefficient_{k}": value for k, value in enumerate(row)}
            tables.append(self._means(next(found)).assign(**place, **own))
        self._report(len(rows), len(rows))
        frame = pd.concat(tables, ignore_index=True)
        frame = frame.assign(surface=self.name, unit=self.unit, space=self.path.space)
        numbers = [f"coefficient_{k}" for k in range(len(self.path.points))]
        return frame.reindex(columns=[*SURFACE_COLUMNS, *numbers])

    def _report(self, done: int, total: int) -> None:
        """Tell how many of the grid's points are done."""
        if self.progress:
            self.progress(done, total, self.name)

    def _means(self, records: pd.DataFrame) -> pd.DataFrame:
        """One row for each task from its per-example records: sums divided once."""
        rows = []
        for split in self.encoded:
            own = records[records["task"] == split.task]
            loss, tokens, score = (np.asarray(own[name]) for name in ("loss_sum", "num_tokens", "score"))
            means = loss.sum() / tokens.sum(), score.mean()
            rows.append((split.task, split.split, *means, split.metric, len(own), tokens.sum()))
        names = ["task", "split", "loss", "score", "metric", "num_examples", "num_tokens"]
        return pd.DataFrame(rows, columns=names)


def refuse_two_heads(path: Path) -> None:
    """Raise if every task would be scored with a head of its own: one point would be two models.

    Raises:
        EvaluationError: If the path's policy is `heads="own"`.
    """
    if path.heads == "own":
        raise EvaluationError(
            f"no surface through {path.name!r} with two heads",
            expected="one head at every point",
            got='heads="own"',
            remedy='make the path with heads="shared", or measure the path itself with evaluate_path',
        )
