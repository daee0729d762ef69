"""Measure tasks on the plane through three checkpoints, through a curve and its ends, or around one checkpoint.

Around a checkpoint (--around) x and y are steps in two random directions, each of whose filters is as long as the
checkpoint's (Li 2018, arXiv 1712.09913). Writes plane.csv (loss and score of every task at every point of the grid),
points.csv (where the checkpoints and the path fall, and how far off the plane they are) and figures/ to the output
folder.
"""

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Literal

from modeconn.cli.measurement import Measurement, SweepSettings
from modeconn.runs.settings import flag_help

if TYPE_CHECKING:
    from modeconn.adapters.adapter import Adapter
    from modeconn.evaluation.surface import Surface
    from modeconn.models.adapter_model import AdapterModel
    from modeconn.paths.path import Path as Curve
    from modeconn.paths.plane import Plane
    from modeconn.runs import RunFolder
    from modeconn.runs.processes import Processes
    from modeconn.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Settings(SweepSettings):
    """Which plane, and what to measure on it."""

    points: tuple[str, ...] = field(
        default=(), metadata=flag_help("three checkpoints that span the plane; more are projected")
    )
    path: str | None = field(
        default=None,
        metadata=flag_help("a path folder, as modeconn fit writes it: drawn in; without points it spans the plane"),
    )
    space: Literal["weights", "factors", "aligned-factors"] = field(
        default="weights", metadata=flag_help("coordinates in which the points are combined; a path has its own")
    )
    around: str | None = field(
        default=None, metadata=flag_help("one checkpoint instead, in the middle of two random directions")
    )
    num_points: int = field(default=21, metadata=flag_help("lines of the grid in each direction"))
    margin: float = field(default=0.2, metadata=flag_help("added on each side, as a share of the extent"))
    radius: float = field(default=1.0, metadata=flag_help("around a checkpoint: steps on each side"))
    filters: Literal["update", "weights", "factors"] | None = field(
        default=None,
        metadata=flag_help(
            "around a checkpoint: what a step is as long as; its update, the changed weights, or its own tensors."
            " null: its update where it has one"
        ),
    )
    seed: int = field(default=0, metadata=flag_help("around a checkpoint: of the directions"))

    @property
    def sources(self) -> tuple[str, ...]:
        """Checkpoints and path."""
        return tuple(source for source in (*self.points, self.path, self.around) if source)

    def resolved(self) -> "Settings":
        """The same settings with absolute paths."""
        from modeconn.runs import resolved

        one = {name: value and resolved(value) for name, value in (("path", self.path), ("around", self.around))}
        return replace(super().resolved(), points=tuple(resolved(point) for point in self.points), **one)


def run(settings: Settings, processes: "Processes | None" = None) -> int:
    """Measure a plane and write its run folder; a finished one is shown again."""
    from modeconn.adapters.adapter import Adapter
    from modeconn.cli.naming import named
    from modeconn.cli.plane_around import around
    from modeconn.paths import PolygonalChain, load_path
    from modeconn.paths.plane import check_grid

    _check_given(settings)
    if settings.around:
        plane = around(settings, settings.around)
        return Measurement("plane", settings, [plane.point], plane.plan, processes=processes).run(
            plane.measure, _show, _write
        )
    check_grid(settings.num_points, margin=settings.margin)
    path = load_path(settings.path) if settings.path else None
    names = named(settings.points) if settings.points else []
    given = [Adapter.from_pretrained(source, name=name) for source, name in names]
    points = [*given, *(path.points if path else ())]
    if not any(point.needs_base for point in points):  # what is wrong with them is told before a model is loaded
        _plane(settings, given, path).grid(settings.num_points, margin=settings.margin)

    def measure(folder: "RunFolder", model: "AdapterModel", tasks: "list[Task]") -> "Surface":
        return _measured(settings, folder, given, path and path.on(model), model, tasks)

    spanning = PolygonalChain(given[:3], space=settings.space) if given else path
    assert spanning is not None  # _check_given has looked
    plan = [(spanning, {"num_points": settings.num_points**2, "num_ends": len(spanning.points)})]
    return Measurement("plane", settings, points, plan, processes=processes).run(measure, _show, _write)


def _check_given(settings: Settings) -> None:
    """Raise unless something spans a plane, or there is one checkpoint to look around."""
    from modeconn.errors import PathError

    count = len(settings.points)
    got = f"{count} points, {'a' if settings.path else 'no'} path"
    if settings.around and (count or settings.path):
        raise PathError(
            "a plane around a checkpoint goes through no others",
            expected="--around with one checkpoint, or --points and --path",
            got=f"--around, {got}",
            remedy="measure both, in folders of their own",
        )
    if not settings.around and ((count and count < 3) or not (count or settings.path)):
        raise PathError(
            "there is nothing that spans a plane",
            expected="three --points or more, --path, or --around with one checkpoint",
            got=got,
            remedy="give three checkpoints, or the folder that modeconn fit wrote",
        )
    _refuse_without_effect(settings, ("margin", "space") if settings.around else ("radius", "filters", "seed"))


def _refuse_without_effect(settings: Settings, names: tuple[str, ...]) -> None:
    """Raise if settings were changed that do nothing on this kind of plane."""
    from modeconn.errors import PathError

    plain = {one.name: one.default for one in fields(settings)}
    changed = [name for name in names if getattr(settings, name) != plain[name]]
    if changed:
        raise PathError(
            f"these settings do nothing on a plane {'around a checkpoint' if settings.around else 'through points'}",
            expected="--num-points, --radius, --filters and --seed" if settings.around else "--num-points and --margin",
            got=", ".join(f"--{name} {getattr(settings, name)}" for name in changed),
            remedy="leave them out",
        )


def _plane(
    settings: Settings, given: "list[Adapter]", path: "Curve | None", base: "AdapterModel | None" = None
) -> "Plane":
    """The plane through the first three points, else along the path."""
    from modeconn.paths.plane import Plane

    if given:
        return Plane.through(given[:3], space=settings.space, base=base)
    assert path is not None  # _check_given has looked
    return Plane.along(path)


def _measured(
    settings: Settings,
    folder: "RunFolder",
    given: "list[Adapter]",
    path: "Curve | None",
    model: "AdapterModel",
    tasks: "list[Task]",
) -> "Surface":
    """The surface."""
    from modeconn.cli.progress import progress
    from modeconn.evaluation.plane import evaluate_plane
    from modeconn.evaluation.store import RunPointStore

    with progress(quiet=settings.quiet) as report:
        return evaluate_plane(
            _plane(settings, given, path, model),
            model,
            tasks,
            num_points=settings.num_points,
            margin=settings.margin,
            path=path,
            others=given[3:],
            split=settings.split,
            settings=settings.encoding(),
            store=RunPointStore(folder),
            progress=report,
        )


def _write(folder: "RunFolder", _model: "AdapterModel", _tasks: "list[Task]", surface: "Surface") -> None:
    """Tables and figures."""
    from modeconn.plotting import save_figure
    from modeconn.plotting.plane import plot_plane

    folder.record(checks=dict(surface.checks))
    folder.write_csv(surface.frame, "plane.csv")
    folder.write_csv(surface.points, "points.csv")
    with folder.replacing("figures") as figures:
        figures.mkdir()
        save_figure(plot_plane(surface.frame, surface.points), figures / "plane", table=surface.frame)


def _show(folder: "RunFolder") -> tuple[str, ...]:
    """Print where the points fall, and the lowest loss of every task on the grid."""
    from modeconn.cli.tables import print_table
    from modeconn.runs import read_csv

    points = read_csv(folder.folder / "points.csv")
    ends = points.loc[(points["role"] != "path") | points["t"].isin([0.0, 1.0])]
    frame = read_csv(folder.folder / "plane.csv")
    print_table(ends, title=f"points (x and y: {frame['unit'].iloc[0]}; distance: L2, from the plane)")
    print()
    lowest = frame.loc[frame.groupby("task", sort=False)["loss"].idxmin()]
    print_table(
        lowest.reindex(columns=["task", "x", "y", "loss", "score", "metric"]),
        title=f"lowest loss of the grid, nats, {lowest['split'].iloc[0]} split, {lowest['space'].iloc[0]} space",
    )
    return ()
