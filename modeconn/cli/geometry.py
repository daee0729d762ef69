"""Say where the updates of checkpoints lie: how large, of how many directions, and what they share.

Writes geometry.csv (a row for each checkpoint and matrix), overlaps.csv (for each pair of checkpoints and matrix),
points.csv and pairs.csv (the same in total), drift.csv, spectra.parquet, reading.txt and figures/ to the output folder.
No model is loaded; a base stays on disk. With --tasks the model is loaded, and the curvature of the tasks' losses at
every checkpoint is measured, too: second_order.csv (Hessian trace, largest and smallest eigenvalue, sharpness), and of
two checkpoints curvature.csv (along the line between them). With --path, paths.csv says how long fitted curves are and
how they bend.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from modeconn.cli.second_order_run import SecondOrderFlags
from modeconn.runs.settings import flag_help

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from modeconn.adapters.adapter import Adapter
    from modeconn.adapters.full import FullModel
    from modeconn.geometry.measure import Geometry
    from modeconn.runs import RunFolder
    from modeconn.tasks.task import Task

_POINTS = (
    "point", "num_matrices", "norm", "relative_norm", "rank", "stable_rank", "effective_rank", "top_columns",
    "top_rows", "bottom_columns", "bottom_rows", "intruders", "looked_at",
)  # fmt: skip
_PAIRS = (
    "first", "second", "cosine", "sign_agreement", "column_overlap", "column_chance", "row_overlap", "row_chance",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Settings(SecondOrderFlags):
    """Which checkpoints, and what they are held against."""

    adapters: tuple[str, ...] = field(
        metadata=flag_help("adapters or full fine-tunes in the order of the run: folders or hub ids")
    )
    base_model: str | None = field(
        default=None, metadata=flag_help("folder or hub id: for relative norms, and kinds that are functions of it")
    )
    path: tuple[str, ...] = field(
        default=(),
        metadata=flag_help("path folders, as modeconn fit writes them: measures length and bending, too"),
    )
    increments: bool = field(
        default=False, metadata=flag_help("take what each checkpoint adds to the one before, not its whole update")
    )
    directions: int = field(
        default=32, metadata=flag_help("leading singular directions that span the subspaces compared, at most")
    )
    principal: int = field(
        default=0,
        metadata=flag_help(
            "compare with so many of the base's first and last singular directions, and count intruder dimensions;"
            " decomposes every weight: minutes for a small model, hours for a large one; 0 does not"
        ),
    )

    @property
    def sources(self) -> tuple[str, ...]:
        """The checkpoints."""
        return self.adapters

    def resolved(self) -> "Settings":
        """The same settings with absolute paths."""
        from modeconn.runs import resolved

        found = {name: tuple(map(resolved, getattr(self, name))) for name in ("adapters", "path")}
        return replace(super().resolved(), **found)


def run(settings: Settings) -> int:
    """Measure and write the run folder; a finished one is shown again."""
    from modeconn.adapters.adapter import Adapter
    from modeconn.cli.naming import named
    from modeconn.cli.path_shapes import path_sentences, shapes_of
    from modeconn.cli.progress import say_shown_again
    from modeconn.cli.second_order_run import load_tasks, measure_second_order
    from modeconn.geometry.accepting import check_points

    points = [Adapter.from_pretrained(source, name=name) for source, name in named(settings.adapters)]
    base = _base(settings, points)
    check_points(points, base=base)
    tasks = load_tasks(settings, points)
    shapes, of_paths = shapes_of(settings.path, base)
    folder = _opened(settings, points, tasks, of_paths)
    if settings.dry_run:
        _show_plan(settings, folder, points, tasks)
        return 0
    if folder.finished:
        say_shown_again(folder.folder)
    else:
        with folder:
            geometry = _measured(settings, points, base)
            _write_tables(settings, folder, geometry)
            if shapes is not None:
                folder.write_csv(shapes, "paths.csv")
            more = measure_second_order(settings, folder, points, tasks) if tasks else []
            _write_rest(folder, geometry, [*path_sentences(shapes), *more])
    for note in _notes(settings, points):
        print(f"note: {note}", file=sys.stderr)
    _show(folder)
    print(f"\nwritten: {folder.folder}")
    return 0


def _base(settings: Settings, points: "Sequence[Adapter]") -> "FullModel | None":
    """The base model on disk, checked against all points."""
    if settings.base_model is None:
        return None
    from modeconn.models.completeness import check_complete_on_disk
    from modeconn.models.stored_fit import check_fits_stored, open_base

    kind = settings.task_type or (points[0].config.task_type if points else None)
    base = open_base(settings.base_model, task_type=kind)
    for point in points:
        check_fits_stored(base, point)
        check_complete_on_disk(base, point)
    return base


def _opened(
    settings: Settings, points: "Sequence[Adapter]", tasks: "Sequence[Task]", of_paths: "Mapping[str, str]"
) -> "RunFolder":
    """The run folder, which holds none of the inputs."""
    from modeconn.runs import RunFolder, refuse_inputs_inside

    refuse_inputs_inside(
        settings.output_dir, [*settings.adapters, *settings.path, *settings.tasks, settings.base_model]
    )
    return RunFolder.open(
        settings.output_dir,
        command="geometry",
        settings=settings.resolved(),
        hashes={
            **{f"adapter {point.name}": point.fingerprint for point in points},
            **{f"task {task.name}": task.fingerprint for task in tasks},
            **of_paths,
        },
        overwrite=settings.overwrite,
    )


def _measured(settings: Settings, points: "Sequence[Adapter]", base: "FullModel | None") -> "Geometry":
    """The tables."""
    from modeconn.cli.progress import progress
    from modeconn.geometry.increments import increments
    from modeconn.geometry.measure import measure_geometry

    if base is not None:
        points = [point.within(base) for point in points]
    with progress(quiet=settings.quiet) as report:
        return measure_geometry(
            increments(points) if settings.increments else points,
            base=base,
            directions=settings.directions,
            principal=settings.principal,
            progress=report,
        )


def _write_tables(settings: Settings, folder: "RunFolder", geometry: "Geometry") -> None:
    """Tables of the updates."""
    folder.record(device="cpu", dtype="float64")
    folder.write_csv(geometry.modules, "geometry.csv")
    folder.write_csv(geometry.overlaps, "overlaps.csv")
    folder.write_csv(geometry.points, "points.csv")
    folder.write_csv(geometry.pairs, "pairs.csv")
    if not settings.increments:  # steps are no places that a run has been at
        folder.write_csv(geometry.drift(), "drift.csv")
    folder.write_parquet(geometry.spectra, "spectra.parquet")


def _write_rest(folder: "RunFolder", geometry: "Geometry", more: "Sequence[str]") -> None:
    """Sentences, of the curvature too, and figures."""
    from modeconn.cli.second_order_run import second_order_figures
    from modeconn.geometry.reading import reading
    from modeconn.plotting import save_figure

    folder.write_text("\n\n".join([*reading(geometry), *more]) + "\n", "reading.txt")
    with folder.replacing("figures") as figures:
        figures.mkdir()
        for name, drawn, table in (*_figures(geometry), *second_order_figures(folder)):
            save_figure(drawn, figures / name, table=table)


def _show_plan(settings: Settings, folder: "RunFolder", points: "Sequence[Adapter]", tasks: "list[Task]") -> None:
    """Print what would be measured, and what the curvature would cost."""
    from modeconn.cli.profile_printing import print_plan
    from modeconn.cli.second_order_run import second_order_plan

    if folder.finished:
        print(f"nothing to do: the run in {settings.output_dir} is finished")
        return
    parameters = {name for point in points for name in point.updates}
    plan = {
        "checkpoints": str(len(points)),
        "pairs": str(len(points) * (len(points) - 1) // 2),
        "parameters that they change": str(len(parameters)),
        "weights of the base decomposed": str(len(parameters) if settings.principal else 0),
    }
    print_plan(plan, path="updates")
    for title, one in second_order_plan(settings, points, tasks) if tasks else ():
        print()
        print_plan(one, path=f"{title}, {settings.split} split")


def _figures(geometry: "Geometry") -> "Iterator[tuple[str, Axes | Figure, pd.DataFrame]]":
    """Name, figure and table of each figure that there is something for."""
    from modeconn.plotting.interference import plot_interference
    from modeconn.plotting.layer_profile import plot_layer_profile
    from modeconn.plotting.spectra import plot_spectra

    modules = geometry.modules
    if len(geometry.spectra):
        yield "spectra", plot_spectra(geometry.spectra), geometry.spectra
    if modules["layer"].notna().to_numpy().any():
        yield "layers", plot_layer_profile(modules), modules
        if modules["rank"].notna().to_numpy().any():
            yield "ranks", plot_layer_profile(modules, value="effective_rank"), modules
        if "top_columns" in modules:
            yield "principal", plot_layer_profile(modules, value="top_columns"), modules
    if len(geometry.pairs):
        yield "interference", plot_interference(geometry.pairs), geometry.pairs


def _notes(settings: Settings, points: "Sequence[Adapter]") -> list[str]:
    """What a reader of the tables should know."""
    from modeconn.cli.notes import on_other_bases

    notes = on_other_bases(points, settings.base_model)
    saved = sorted({name for point in points for name in point.saved})
    if saved:
        notes.append(f"saved modules are no updates and are left out: {', '.join(saved)}")
    if settings.tasks and settings.dtype in ("float16", "bfloat16"):
        notes.append(
            f"second derivatives of a {settings.dtype} model carry its rounding: --dtype float32 where they count"
        )
    if settings.increments:
        notes.append(
            "neighbouring steps share the directions of the checkpoint between them by construction: --directions 4"
            " compares the leading ones only"
        )
    if settings.base_model is None:
        notes.append("norms relative to the base's weights need --base-model")
    elif not settings.principal:
        notes.append("--principal 16 compares with the base's singular directions")
    return notes


def _show(folder: "RunFolder") -> None:
    """Print the totals and the sentences."""
    from modeconn.cli.second_order_run import show_second_order
    from modeconn.cli.tables import print_table
    from modeconn.runs import read_csv

    points, pairs = (read_csv(folder.folder / name) for name in ("points.csv", "pairs.csv"))
    known = [column for column in _POINTS if column in points and points[column].notna().to_numpy().any()]
    print_table(points.reindex(columns=known), title="updates in total (of all matrices as one block-diagonal one)")
    if len(pairs):
        print()
        print_table(pairs.reindex(columns=_PAIRS), title="what two updates share, beside chance")
    if (folder.folder / "paths.csv").exists():
        print()
        print_table(read_csv(folder.folder / "paths.csv"), title="paths: L2 length, turn in degrees, largest curvature")
    show_second_order(folder)
    print()
    print((folder.folder / "reading.txt").read_text(encoding="utf-8").rstrip("\n"))
