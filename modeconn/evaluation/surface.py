"""A surface: what the tasks' metrics are on a grid of two directions, as tables."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch

from modeconn.errors import EvaluationError
from modeconn.evaluation.preconditions import preconditions
from modeconn.evaluation.progress import Progress, tell_tokens, told
from modeconn.evaluation.records import PointStore, Records, task_means
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
        return preconditions(
            self.path, self.model, self.encoded, points, against_peft=against_peft, called="points", store=self.store
        )

    def means(self, rows: torch.Tensor, where: Sequence[str]) -> Iterator[pd.DataFrame]:
        """One row for each task at points, one point after the other.

        Args:
            rows: Coefficients of the control points, `[N, K]`.
            where: The points in words, for messages.
        """
        tell_tokens(self.progress, self.name, self.encoded)
        records = Records(self.path, self.model, self.encoded, store=self.store).each(rows, where)
        for own in told(records, self.progress, self.name, total=len(rows)):
            yield task_means(own, self.encoded)

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
        found = self.means(rows, ["x={x:g}, y={y:g}".format(**place) for place in places])
        tables = []
        for row, place, means in zip(rows.tolist(), places, found, strict=True):
            tables.append(means.assign(**place, **{f"coefficient_{k}": value for k, value in enumerate(row)}))
        frame = pd.concat(tables, ignore_index=True)
        frame = frame.assign(surface=self.name, unit=self.unit, space=self.path.space)
        numbers = [f"coefficient_{k}" for k in range(len(self.path.points))]
        return frame.reindex(columns=[*SURFACE_COLUMNS, *numbers])


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
