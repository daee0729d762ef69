"""Measure tasks along paths between checkpoints, and how high the barriers are.

The paths are the line from --start to --end, the lines between consecutive --points, and fitted curves (--path), or
several of them in one table and one figure. Writes profile.csv, examples.parquet, barriers.csv, bands.csv,
lost_examples.csv and figures/ to the output folder and prints the barriers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from modeconn.cli.measurement import Measurement, SweepSettings
from modeconn.cli.mixture_setting import mixture_name
from modeconn.cli.statistics_settings import StatisticsSettings
from modeconn.runs.settings import flag_help

if TYPE_CHECKING:
    from modeconn.adapters.adapter import Adapter
    from modeconn.evaluation.profile import Profile
    from modeconn.evaluation.sequential import PreciseProfile
    from modeconn.models.adapter_model import AdapterModel
    from modeconn.paths.path import Path as Curve
    from modeconn.runs import RunFolder
    from modeconn.runs.processes import Processes
    from modeconn.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Settings(StatisticsSettings, SweepSettings):
    """Which paths, and where on them."""

    start: str | None = field(default=None, metadata=flag_help("checkpoint at t = 0 of a line: a folder or hub id"))
    end: str | None = field(default=None, metadata=flag_help("checkpoint at t = 1"))
    points: tuple[str, ...] = field(default=(), metadata=flag_help("checkpoints in a row, joined by a line each"))
    path: tuple[str, ...] = field(default=(), metadata=flag_help("path folders, as modeconn fit writes them"))
    space: Literal["weights", "factors", "aligned-factors"] = field(
        default="weights", metadata=flag_help("coordinates of the lines")
    )
    heads: Literal["shared", "own", "skip"] | None = field(
        default=None,
        metadata=flag_help("whose head counts, where heads differ: the start's, each end's (classifiers), the base's"),
    )
    num_points: int = field(default=21, metadata=flag_help("evenly spaced positions, ends included"))
    t: tuple[float, ...] | None = field(default=None, metadata=flag_help("the positions themselves, from 0 to 1"))
    tolerance: float | None = field(
        default=None,
        metadata=flag_help(
            "choose the positions: the profile is known between them to this part of its range (0.0025)"
        ),
    )
    absolute_tolerance: float | None = field(
        default=None, metadata=flag_help("the same in nats; of two tolerances, the larger counts")
    )

    matmul_precision: Literal["float32", "tf32", "bfloat16"] = field(
        default="float32",
        metadata=flag_help("of products of float32 weights; what it does to the barriers is measured (products.csv)"),
    )
    precision: float | None = field(
        default=None,
        metadata=flag_help("use as many examples as half the width of the loss barrier's interval needs, in nats"),
    )
    choose_on: str | None = field(
        default=None, metadata=flag_help("split on which the best t is chosen, to be reported on --split")
    )
    choose_by: Literal["score", "loss"] = field(
        default="score", metadata=flag_help("what is best at the chosen t: the mean over tasks, or that of --mixture")
    )
    mixture: tuple[str, ...] = field(
        default=(),
        metadata=flag_help("weights of tasks whose mean is measured too, and counts as the mean: old=2 new=1")
        | {"metavar": "TASK=WEIGHT"},
    )
    old_task: str | None = field(
        default=None, metadata=flag_help("task of the trade-off that the start was trained on")
    )
    new_task: str | None = field(default=None, metadata=flag_help("task of the trade-off that the end was trained on"))

    seed: int = field(default=0, metadata=flag_help("of the resampling, and of the order of examples (--precision)"))

    lm_eval: tuple[str, ...] = field(
        default=(), metadata=flag_help("benchmarks of lm-evaluation-harness, at --lm-eval-t (extra general)")
    )
    lm_eval_tasks: str | None = field(default=None, metadata=flag_help("folder with benchmarks of your own, as YAML"))
    lm_eval_t: tuple[float, ...] = field(default=(0.0, 0.5, 1.0), metadata=flag_help("positions of the benchmarks"))
    lm_eval_examples: int | None = field(default=None, metadata=flag_help("examples of a benchmark; none takes all"))

    @property
    def sources(self) -> tuple[str, ...]:
        """The ends, points and path folders."""
        return tuple(source for source in (self.start, self.end, *self.points, *self.path) if source)

    @property
    def positions(self) -> dict[str, Any]:
        """What says where on each path."""
        tolerances = {"tolerance": self.tolerance, "absolute_tolerance": self.absolute_tolerance}
        return {"num_points": self.num_points, "t": self.t, **tolerances}

    def model_options(self) -> dict[str, Any]:
        """In what products are made, and how many points a batch is read for."""
        return {**super().model_options(), "matmul_precision": self.matmul_precision}

    @property
    def weights(self) -> dict[str, float]:
        """The mixture's weights by task; empty without one."""
        from modeconn.cli.mixture_setting import mixture_weights

        return mixture_weights(self.mixture)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that are read."""
        return (self.split, *([self.choose_on] if self.choose_on else []))

    @property
    def grid(self) -> dict[str, Any]:
        """The positions where no tolerance chooses them."""
        return {"num_points": self.num_points, "t": self.t}

    def resolved(self) -> "Settings":
        """The same settings with absolute paths."""
        from modeconn.runs import resolved

        return replace(
            super().resolved(),
            start=resolved(self.start) if self.start else None,
            end=resolved(self.end) if self.end else None,
            points=tuple(resolved(point) for point in self.points),
            path=tuple(resolved(path) for path in self.path),
        )


def run(settings: Settings, processes: "Processes | None" = None) -> int:
    """Evaluate paths and write their run folder; a finished one is shown again."""
    from modeconn.cli.evaluation_checks import (
        check_choices,
        check_named_tasks,
        notes_on_plan,
        on_equal_ends,
        refuse_one_source,
    )
    from modeconn.cli.given_paths import given_paths
    from modeconn.cli.profile_files import write_profile
    from modeconn.cli.profile_printing import print_profile
    from modeconn.cli.profile_tables import tables_of
    from modeconn.cli.statistics_settings import check_statistics
    from modeconn.evaluation.evaluate import positions_asked

    check_choices(settings)
    check_statistics(**settings.statistics)
    weights = settings.weights
    refuse_one_source([[end for end in (settings.start, settings.end) if end], settings.points])
    _check_general(settings)
    positions_asked(**settings.positions)  # what cannot be is told before anything is loaded or written
    paths = given_paths(settings)

    def measure(folder: "RunFolder", model: "AdapterModel", tasks: "list[Task]") -> _Measured:
        return _measured(settings, folder, paths, tasks, model)

    def write(folder: "RunFolder", model: "AdapterModel", tasks: "list[Task]", measured: _Measured) -> None:
        tables = tables_of(
            measured.profile, tasks, precise=measured.precise, validation=measured.validation,
            statistics=settings.statistics, choose_by=settings.choose_by, weights=weights,
        )  # fmt: skip
        counted = {path.name: [mixture_name(weights)] for path in paths} if weights else None
        write_profile(folder, measured.profile, tables, mean_of=counted, old_and_new=_old_and_new(settings, tasks))
        if settings.lm_eval:
            _write_general(settings, folder, paths, model)

    def show(folder: "RunFolder") -> list[str]:
        return [*on_equal_ends(paths), *print_profile(folder)]

    points = list({id(point): point for path in paths for point in path.points}.values())
    plan = [(path, {**settings.positions, "split": split}) for path in paths for split in settings.splits]
    measurement = Measurement("evaluate", settings, points, plan, _inputs(paths), processes, notes_on_plan(settings))
    return measurement.run(measure, show, write, accept=partial(check_named_tasks, settings))


def _inputs(paths: "Sequence[Curve]") -> "dict[str, Adapter]":
    """The control points of all paths under the names that `run.json` gives them."""
    ends = {f"adapter {point.name}": point for path in paths for point in (path.start, path.head_of_end)}
    return ends | {
        f"bend {number} of {path.name}": path.points[number]
        for path in paths
        for number in range(1, len(path.points) - 1)
    }


class _Measured(NamedTuple):
    """What is known of the paths: profiles, those of growing samples, and those of the split on which t is chosen."""

    profile: "Profile"
    precise: "Sequence[PreciseProfile]"
    validation: "Profile | None"


def _measured(
    settings: Settings, folder: "RunFolder", paths: "Sequence[Curve]", tasks: "list[Task]", model: "AdapterModel"
) -> _Measured:
    """The profiles of all paths."""
    from modeconn.cli.progress import progress
    from modeconn.evaluation.evaluate import evaluate_path
    from modeconn.evaluation.profile import Profile
    from modeconn.evaluation.sequential import evaluate_to_precision
    from modeconn.evaluation.store import RunPointStore

    options: dict[str, Any] = {"settings": settings.encoding(), "store": RunPointStore(folder)}
    precise: list[PreciseProfile] = []
    validation = None
    with progress(quiet=settings.quiet) as report:
        options["progress"] = report
        if settings.choose_on is not None:
            chosen_on = [
                evaluate_path(path, model, tasks, split=settings.choose_on, **options, **settings.positions)
                for path in paths
            ]
            validation = Profile.concat(chosen_on)
        if settings.precision is not None:
            precise = [
                evaluate_to_precision(
                    path,
                    model,
                    tasks,
                    precision=settings.precision,
                    split=settings.split,
                    **options,
                    **settings.grid,
                    **settings.statistics,
                )
                for path in paths
            ]
            profiles = [one.profile for one in precise]
        else:
            profiles = [
                evaluate_path(path, model, tasks, split=settings.split, **options, **settings.positions)
                for path in paths
            ]
    profile, weights = Profile.concat(profiles), settings.weights
    if weights:
        profile = profile.mixture(weights, name=mixture_name(weights))
    return _Measured(profile, precise, validation)


def _check_general(settings: Settings) -> None:
    """Raise if the benchmarks of the harness cannot be run, before anything else is."""
    if settings.lm_eval:
        from modeconn.evaluation.general import check_general

        check_general(
            settings.lm_eval,
            t=settings.lm_eval_t,
            num_examples=settings.lm_eval_examples,
            include_path=settings.lm_eval_tasks,
        )


def _write_general(settings: Settings, folder: "RunFolder", paths: "Sequence[Curve]", model: "AdapterModel") -> None:
    """Run the benchmarks of the harness at positions of every path, and write their tables."""
    import pandas as pd

    from modeconn.cli.progress import progress
    from modeconn.evaluation.general import general_scores
    from modeconn.evaluation.store import RunPointStore

    with progress(quiet=settings.quiet) as report:
        found = [
            general_scores(
                path,
                model,
                settings.lm_eval,
                t=settings.lm_eval_t,
                num_examples=settings.lm_eval_examples,
                include_path=settings.lm_eval_tasks,
                store=RunPointStore(folder),
                progress=report,
            )
            for path in paths
        ]
    folder.write_csv(pd.concat([one.frame for one in found], ignore_index=True), "general.csv")
    folder.write_parquet(pd.concat([one.samples for one in found], ignore_index=True), "general.parquet")


def _old_and_new(settings: Settings, tasks: "list[Task]") -> tuple[str, str] | None:
    """The tasks of the trade-off: those given, else the two that there are."""
    if settings.old_task and settings.new_task:
        return settings.old_task, settings.new_task
    names = [task.name for task in tasks]
    return (names[0], names[1]) if len(names) == 2 else None
