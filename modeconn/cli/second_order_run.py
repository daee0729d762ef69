"""Second-order measures of `modeconn geometry`: what is asked for, what it costs, what it writes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from modeconn.cli.measurement import MeasurementSettings
from modeconn.evaluation.second_order_settings import SecondOrderSettings
from modeconn.runs.settings import flag_help

if TYPE_CHECKING:
    import pandas as pd

    from modeconn.adapters.adapter import Adapter
    from modeconn.paths.line import LinearPath
    from modeconn.runs import RunFolder
    from modeconn.tasks.task import Task

_SHOWN = (
    "point", "task", "loss", "trace", "trace_error", "top", "top_error", "bottom", "bottom_error", "sharpness",
    "num_parameters", "num_examples",
)  # fmt: skip
_WITHOUT_TASKS = ("task_type",)  # says which kind of base is opened


@dataclass(frozen=True, kw_only=True)
class SecondOrderFlags(MeasurementSettings):
    """Tasks, of whose losses the curvature is measured; without tasks none is."""

    tasks: tuple[str, ...] = field(
        default=(), metadata=flag_help("task folders, files or hub ids: measures the curvature of their losses, too")
    )
    second_order: SecondOrderSettings = field(default_factory=SecondOrderSettings)
    line: bool = field(default=True, metadata=flag_help("of two adapters, measure the line between them, too"))
    num_points: int = field(default=21, metadata=flag_help("evenly spaced positions on the line, ends included"))
    space: Literal["weights", "factors", "aligned-factors"] = field(
        default="weights", metadata=flag_help("coordinates of the line")
    )
    heads: Literal["shared", "own", "skip"] | None = field(
        default=None, metadata=flag_help("whose head counts on the line, where heads differ; see modeconn evaluate")
    )


def load_tasks(settings: SecondOrderFlags, points: "Sequence[Adapter]") -> "list[Task]":
    """The tasks, once everything that can be told without a model is found right.

    Raises:
        EvaluationError: If settings were changed that do nothing without tasks, or a point has no coordinates.
        TaskError: If a task cannot be read, or lacks the split.
    """
    from modeconn.evaluation.curvature_table import check_count
    from modeconn.evaluation.evaluate import check_tasks
    from modeconn.evaluation.local_loss import check_coordinates
    from modeconn.tasks.task import Task

    if not settings.tasks:
        _refuse_without_effect(settings)
        return []
    tasks = [Task.load(task, unlisted=settings.unlisted_answers) for task in settings.tasks]
    check_tasks(tasks, split=settings.split)
    for point in points:
        check_coordinates(point)
    if line_of(settings, points) is not None:
        check_count(settings.num_points)
    return tasks


def line_of(settings: SecondOrderFlags, points: "Sequence[Adapter]") -> "LinearPath | None":
    """The line between two points; None of more or fewer, or where it is not wanted."""
    from modeconn.paths.line import LinearPath

    if len(points) != 2 or not settings.line:
        return None
    return LinearPath(*points, space=settings.space, heads=settings.heads)


def measure_second_order(
    settings: SecondOrderFlags, folder: "RunFolder", points: "Sequence[Adapter]", tasks: "list[Task]"
) -> list[str]:
    """Measure, write second_order.csv and, of two points, curvature.csv, and return what they say.

    Args:
        settings: What is asked for.
        folder: The run folder, opened; what is finished is kept in it.
        points: The checkpoints.
        tasks: The tasks.
    """
    from modeconn.cli.progress import progress
    from modeconn.evaluation.curvature_table import curvature_along
    from modeconn.evaluation.second_order import second_order
    from modeconn.evaluation.second_order_reading import second_order_reading
    from modeconn.evaluation.store import RunPointStore

    model = settings.load_model(points)
    folder.record(device=str(model.device), dtype=settings.dtype, hashes={"base model": model.fingerprint})
    options: dict[str, Any] = {"split": settings.split, "encoding": settings.encoding(), "store": RunPointStore(folder)}
    line, along = line_of(settings, points), None
    with progress(quiet=settings.quiet) as report:
        found = second_order(points, model, tasks, settings=settings.second_order, progress=report, **options)
        if line is not None:
            along = curvature_along(line, model, tasks, num_points=settings.num_points, progress=report, **options)
    folder.write_csv(found, "second_order.csv")
    if along is not None:
        folder.write_csv(along, "curvature.csv")
    return second_order_reading(found, along)


def second_order_figures(folder: "RunFolder") -> "list[tuple[str, Any, pd.DataFrame]]":
    """Name, figure and table of each figure of what was measured."""
    from modeconn.plotting.second_order import plot_curvature, plot_second_order
    from modeconn.runs import read_csv

    drawn: list[tuple[str, Any, pd.DataFrame]] = []
    for name, file, plot in (
        ("second-order", "second_order.csv", plot_second_order),
        ("curvature", "curvature.csv", plot_curvature),
    ):
        if (folder.folder / file).exists():
            table = read_csv(folder.folder / file)
            drawn.append((name, plot(table), table))
    return drawn


def show_second_order(folder: "RunFolder") -> None:
    """Print what was measured at the points, if it was."""
    from modeconn.cli.tables import print_table
    from modeconn.runs import read_csv

    file = folder.folder / "second_order.csv"
    if not file.exists():
        return
    frame = read_csv(file)
    known = [column for column in _SHOWN if frame[column].notna().to_numpy().any()]
    print()
    print_table(
        frame.reindex(columns=known),
        title=f"curvature of the loss in the adapter's own coordinates, {frame['split'].iloc[0]} split, nats",
    )


def second_order_plan(
    settings: SecondOrderFlags, points: "Sequence[Adapter]", tasks: "list[Task]"
) -> "list[tuple[str, dict[str, str]]]":
    """What the measures at points would cost, by a probe, and what the line would."""
    from modeconn.evaluation.plan import plan_evaluation
    from modeconn.evaluation.second_order_plan import plan_second_order

    model = settings.load_model(points)
    options: dict[str, Any] = {"split": settings.split}
    plans = [
        (
            "curvature at points",
            plan_second_order(
                points, model, tasks, settings=settings.second_order, encoding=settings.encoding(), **options
            ),
        )
    ]
    line = line_of(settings, points)
    if line is not None:
        plan = plan_evaluation(
            line, model, tasks, num_points=settings.num_points, settings=settings.encoding(), **options
        )
        plans.append((f"curvature along {line.name}", plan))
    return plans


def _refuse_without_effect(settings: SecondOrderFlags) -> None:
    """Raise if settings were changed that do nothing without tasks."""
    from modeconn.errors import EvaluationError, listed

    plain = {one.name: one.default for one in fields(SecondOrderFlags)} | {"second_order": SecondOrderSettings()}
    ours = plain.keys() - {"tasks", "base_model", "output_dir", "overwrite", "dry_run", "quiet", *_WITHOUT_TASKS}
    changed = sorted(name for name in ours if getattr(settings, name) != plain[name])
    if changed:
        raise EvaluationError(
            "these settings do nothing without tasks",
            expected="--tasks with one task or more, of whose loss the curvature is measured",
            got=listed(f"--{name.replace('_', '-')}" for name in changed),
            remedy="give --tasks, or leave them out",
        )
