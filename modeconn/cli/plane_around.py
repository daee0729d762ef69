"""A plane around one checkpoint: what `modeconn plane --around` measures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modeconn.adapters.adapter import Adapter
    from modeconn.cli.plane import Settings
    from modeconn.evaluation.directions import Filters
    from modeconn.evaluation.surface import Surface
    from modeconn.models.adapter_model import AdapterModel
    from modeconn.paths.path import Path
    from modeconn.runs import RunFolder
    from modeconn.tasks.task import Task


@dataclass(frozen=True)
class PlaneAround:
    """What is measured around a checkpoint.

    Attributes:
        point: The checkpoint.
        filters: What a step is as long as.
        settings: The command's.
    """

    point: "Adapter"
    filters: "Filters"
    settings: "Settings"

    @property
    def plan(self) -> "Sequence[tuple[Path, Mapping[str, Any]]]":
        """The checkpoint as a path, and the number of points, for a dry run."""
        from modeconn.paths import LinearPath

        here = LinearPath(self.point, self.point, space="factors" if self.filters == "factors" else "weights")
        return [(here, {"num_points": self.settings.num_points**2, "num_ends": 1})]

    def measure(self, folder: "RunFolder", model: "AdapterModel", tasks: "list[Task]") -> "Surface":
        """The surface."""
        from modeconn.cli.progress import progress
        from modeconn.evaluation.random_surface import evaluate_surface
        from modeconn.evaluation.store import RunPointStore

        settings = self.settings
        with progress(quiet=settings.quiet) as report:
            return evaluate_surface(
                self.point,
                model,
                tasks,
                radius=settings.radius,
                num_points=settings.num_points,
                filters=self.filters,
                seed=settings.seed,
                split=settings.split,
                settings=settings.encoding(),
                store=RunPointStore(folder),
                progress=report,
            )


def around(settings: "Settings", source: str) -> PlaneAround:
    """Read a checkpoint, and what is wrong with the plane around it is told before a model is loaded.

    Args:
        settings: The command's.
        source: The checkpoint's folder or hub id.

    Raises:
        EvaluationError: If there is no such grid, seed or direction.
        AdapterError: If the checkpoint cannot be read.
    """
    from modeconn.adapters.adapter import Adapter
    from modeconn.cli.naming import named
    from modeconn.cli.statistics_settings import check_seed
    from modeconn.evaluation.directions import check_filters, default_filters
    from modeconn.evaluation.random_surface import grid_lines

    check_seed(settings.seed)
    grid_lines(settings.radius, settings.num_points)
    ((_, name),) = named([source])
    point = Adapter.from_pretrained(source, name=name)
    filters = settings.filters or default_filters(point)
    check_filters(point, filters)
    return PlaneAround(point, filters, settings)
