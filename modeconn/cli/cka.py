"""Compare the representations of checkpoints by CKA: layer by layer, along a path, after every task of a run.

With --start and --end, writes layers.csv (every layer of the end against every layer of the start) and cka.csv (every
layer against itself at --reference, along the line between them); with --path, the same for a fitted curve; with
--points, drift.csv (every layer after each checkpoint), and of a single one layers.csv, against the base. Figures go to
figures/.
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from modeconn.cli.measurement import Measurement, MeasurementSettings
from modeconn.runs.settings import flag_help

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    from matplotlib.figure import Figure

    from modeconn.adapters.adapter import Adapter
    from modeconn.models.adapter_model import AdapterModel
    from modeconn.paths.path import Path as Curve
    from modeconn.runs import RunFolder
    from modeconn.similarity.reports import Similarity
    from modeconn.similarity.settings import CKASettings
    from modeconn.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Settings(MeasurementSettings):
    """Which checkpoints, and how they are compared."""

    start: str | None = field(default=None, metadata=flag_help("checkpoint at t = 0 of a line: a folder or hub id"))
    end: str | None = field(default=None, metadata=flag_help("checkpoint at t = 1"))
    path: str | None = field(default=None, metadata=flag_help("a path folder, as modeconn fit writes it"))
    points: tuple[str, ...] = field(
        default=(), metadata=flag_help("checkpoints of a run in order, or one beside its base")
    )
    space: Literal["weights", "factors", "aligned-factors"] = field(
        default="weights", metadata=flag_help("coordinates of the line")
    )
    sites: tuple[str, ...] = field(
        default=("layers",), metadata=flag_help("where: layers, attention, mlp, all, or modules' names")
    )
    pooling: Literal["last-token", "mean", "all-tokens", "cls"] = field(
        default="last-token", metadata=flag_help("what stands for an example; padding is never in it")
    )
    num_points: int = field(default=11, metadata=flag_help("evenly spaced positions on the path, ends included"))
    reference: Literal["start", "end", "base", "first", "previous"] | None = field(
        default=None,
        metadata=flag_help("of a path: start (default), end or base; of --points: base (default), first or previous"),
    )
    num_examples: int | None = field(
        default=1000, metadata=flag_help("examples, spread over the split; null takes all")
    )
    minibatch_size: int | None = field(
        default=None, metadata=flag_help("examples a minibatch, for more than memory holds; none takes all together")
    )
    num_resamples: int = field(default=1000, metadata=flag_help("of the bootstrap over examples"))
    num_permutations: int = field(
        default=200, metadata=flag_help("shuffles that tell chance, in the layer-by-layer table; 0 leaves it out")
    )
    seed: int = 0

    @property
    def sources(self) -> tuple[str, ...]:
        """Checkpoints and path."""
        return tuple(source for source in (self.start, self.end, self.path, *self.points) if source)

    def resolved(self) -> "Settings":
        """The same settings with absolute paths."""
        from modeconn.runs import resolved

        found = {name: getattr(self, name) for name in ("start", "end", "path")}
        return replace(
            super().resolved(),
            points=tuple(resolved(point) for point in self.points),
            **{name: resolved(one) if one else None for name, one in found.items()},
        )

    def comparing(self, *, chance: bool) -> "CKASettings":
        """How they are compared."""
        from modeconn.similarity.settings import CKASettings

        streams = self.minibatch_size is not None or self.pooling == "all-tokens"
        return CKASettings(
            sites=self.sites,
            pooling=self.pooling,
            num_examples=self.num_examples,
            minibatch_size=self.minibatch_size,
            num_resamples=self.num_resamples,
            num_permutations=self.num_permutations if chance and not streams else 0,
            seed=self.seed,
        )


def run(settings: Settings) -> int:
    """Compare and write the run folder; a finished one is shown again."""
    from modeconn.adapters.adapter import Adapter
    from modeconn.cli.cka_plan import planned_comparisons
    from modeconn.cli.naming import named
    from modeconn.evaluation.evaluate import positions_asked
    from modeconn.paths import LinearPath, load_path

    _check_given(settings)
    positions_asked(num_points=settings.num_points)
    settings.comparing(chance=True)  # what cannot be is told before anything is loaded
    sources = settings.points or tuple(one for one in (settings.start, settings.end) if one)
    points = [Adapter.from_pretrained(source, name=name) for source, name in named(sources)]
    if settings.path:
        path = load_path(settings.path)
        points = list(path.points)
    else:
        path = LinearPath(points[0], points[-1], space=settings.space, heads="skip" if settings.points else None)

    def measure(folder: "RunFolder", model: "AdapterModel", tasks: "list[Task]") -> None:
        if settings.points:
            _write_drift(settings, folder, points, model, tasks)
        else:
            _write_path(settings, folder, path, model, tasks)

    def planned(model: "AdapterModel", tasks: "list[Task]") -> "Iterator[tuple[str, dict[str, str]]]":
        return planned_comparisons(settings, path, len(points), model, tasks)

    return Measurement("cka", settings, points, [], planned=planned).run(measure, _show)


def _check_given(settings: Settings) -> None:
    """Raise unless one thing is asked for, and the reference fits it.

    Raises:
        PathError: If nothing, half a line or several things are given, or the reference is one of the others.
    """
    from modeconn.errors import PathError

    ends = [one for one in (settings.start, settings.end) if one]
    asked = [bool(ends), bool(settings.path), bool(settings.points)]
    if sum(asked) != 1 or len(ends) == 1:
        raise PathError(
            "it is not said which checkpoints are compared",
            expected="--start and --end, or --path, or --points",
            got=f"{len(ends)} ends, {'a' if settings.path else 'no'} path, {len(settings.points)} points",
            remedy="give one of them; runs of their own for the others",
        )
    known = ("base", "first", "previous") if settings.points else ("start", "end", "base")
    known = ("base",) if len(settings.points) == 1 else known
    if settings.reference is not None and settings.reference not in known:
        raise PathError(
            f"there is no {settings.reference} to compare with",
            expected=f"--reference {' or '.join(known)}",
            got=f"--reference {settings.reference}",
            remedy="first and previous are for two --points or more, start and end for a path",
        )


def _write_path(
    settings: Settings, folder: "RunFolder", path: "Curve", model: "AdapterModel", tasks: "list[Task]"
) -> None:
    """Layer by layer between the ends, and every layer along the path."""
    from modeconn.cli.progress import progress
    from modeconn.evaluation.store import RunPointStore
    from modeconn.plotting.cka_along_path import plot_cka_along_path
    from modeconn.plotting.cka_layers import plot_cka_difference, plot_cka_layers
    from modeconn.similarity.reports import cka_along_path, cka_between

    options: dict[str, Any] = {"split": settings.split, "encoding": settings.encoding(), "store": RunPointStore(folder)}
    reference: Any = settings.reference or "start"
    bound = path.on(model)
    pairs = [(bound.end, bound.start), *([(bound.start, None), (bound.end, None)] if reference == "base" else [])]
    with progress(quiet=settings.quiet) as report:
        layers = [
            cka_between(
                point, other, model, task, settings=settings.comparing(chance=True), check=number == 0,
                progress=lambda done, total, what: report(done, total, f"{what}, layers"), **options,
            )
            for task in tasks
            for number, (point, other) in enumerate(pairs)
        ]  # fmt: skip
        matrix = _together(layers)
        along = [
            cka_along_path(
                path, model, task, num_points=settings.num_points, reference=reference, check=False,
                settings=settings.comparing(chance=False), progress=report, **options,
            )
            for task in tasks
        ]  # fmt: skip
    curve = _together(along)
    figures = {"layers": (plot_cka_layers(matrix), matrix), "along-path": (plot_cka_along_path(curve), curve)}
    if reference == "base":
        of_base = matrix.loc[matrix["reference"] == "base"]
        sides = [of_base.loc[of_base["point"] == one.name] for one in (bound.end, bound.start)]
        figures["difference"] = plot_cka_difference(*sides), matrix
    _write(folder, {"layers.csv": matrix, "cka.csv": curve}, figures, [*layers, *along], _on_chance(settings))


def _on_chance(settings: Settings) -> list[str]:
    """A remark where the null that was asked for cannot be had."""
    if not settings.comparing(chance=True).streams or not settings.num_permutations:
        return []
    return ["no permutation null (null_high, p_value): it needs all examples together, one vector each"]


def _write_drift(
    settings: Settings, folder: "RunFolder", points: "list[Adapter]", model: "AdapterModel", tasks: "list[Task]"
) -> None:
    """Every layer after each checkpoint; of a single one also layer by layer, against the base."""
    from modeconn.cli.progress import progress
    from modeconn.evaluation.store import RunPointStore
    from modeconn.plotting.cka_drift import plot_cka_drift
    from modeconn.plotting.cka_layers import plot_cka_layers
    from modeconn.similarity.reports import cka_between, cka_drift

    reference: Any = settings.reference or "base"
    options: dict[str, Any] = {"split": settings.split, "encoding": settings.encoding(), "store": RunPointStore(folder)}
    chance, no_chance = settings.comparing(chance=True), settings.comparing(chance=False)
    with progress(quiet=settings.quiet) as report:
        options["progress"] = report
        found = [cka_drift(points, model, task, reference=reference, settings=no_chance, **options) for task in tasks]
        single = points[0] if len(points) == 1 else None
        layers = [
            cka_between(single, None, model, task, settings=chance, check=False, **options)
            for task in (tasks if single else ())
        ]
    frame = _together(found)
    tables, figures = {"drift.csv": frame}, {"drift": (plot_cka_drift(frame), frame)}
    if layers:
        matrix = _together(layers)
        tables["layers.csv"], figures["layers"] = matrix, (plot_cka_layers(matrix), matrix)
    _write(folder, tables, figures, [*layers, *found], _on_chance(settings) if layers else ())


def _together(found: "Sequence[Similarity]") -> "pd.DataFrame":
    """The tables of all tasks as one.

    Raises:
        EvaluationError: If no layer of any task varies between the examples.
    """
    import pandas as pd

    from modeconn.errors import EvaluationError, listed

    frame = pd.concat([one.frame for one in found], ignore_index=True)
    if frame["cka"].isna().to_numpy().all():
        raise EvaluationError(
            "there is nothing to compare: the features are the same for all examples",
            expected="a site whose features differ between examples",
            got=f"constant features at {listed(set(frame['layer']))}",
            remedy="take other sites (--sites), another --pooling or more examples; at the embedding, the last token of"
            " a prompt is often one and the same",
        )
    return frame


def _write(
    folder: "RunFolder",
    tables: "Mapping[str, pd.DataFrame]",
    figures: "Mapping[str, tuple[Figure, pd.DataFrame]]",
    found: "Sequence[Similarity]",
    more: "Sequence[str]" = (),
) -> None:
    """Tables, figures, what was checked, and the remarks, with `more` of them."""
    from modeconn.plotting import save_figure

    folder.record(
        checks={one.frame["task"].iloc[0]: dict(one.checks) for one in reversed(found)},
        remarks=list(
            dict.fromkeys([*(f"{one.frame['task'].iloc[0]}: {note}" for one in found for note in one.notes), *more])
        ),
    )
    for name, table in tables.items():
        folder.write_csv(table, name)
    with folder.replacing("figures") as images:
        images.mkdir()
        for name, (figure, table) in figures.items():
            save_figure(figure, images / name, table=table)


def _show(folder: "RunFolder") -> tuple[str, ...]:
    """Print the likeness of layers with themselves, and return the remarks."""
    from modeconn.cli.tables import print_table
    from modeconn.runs import read_csv, read_record

    drift = (folder.folder / "drift.csv").exists()
    frame = read_csv(folder.folder / ("drift.csv" if drift else "cka.csv"))
    place = "step" if drift else "t"
    wide = frame.pivot_table(index=["task", "layer"], columns=place, values="cka", sort=False, dropna=False)
    wide.columns = [f"{place} = {column:g}" for column in wide.columns]
    first = frame.iloc[0]
    references = frame["reference"].unique().tolist()
    against = references[0] if len(references) == 1 else "the checkpoint before"
    title = f"CKA (debiased) with {against}, {first['split']} split, {first['pooling']} pooling"
    print_table(wide.dropna(how="all").reset_index(), title=title)
    record = read_record(folder.folder)
    return tuple(record.facts.get("remarks", ())) if record else ()
