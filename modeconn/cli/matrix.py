"""Measure the barriers between many checkpoints: all pairs of them, or consecutive ones.

Writes pairs.csv (one row for each pair and task), barriers.csv, profile.csv, examples.parquet, tree.csv (the minimum
spanning tree of saddles) and figures/ to the output folder.
"""

from dataclasses import dataclass, field, replace
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Literal

from modeconn.cli.measurement import Measurement, SweepSettings
from modeconn.cli.statistics_settings import StatisticsSettings, check_statistics
from modeconn.runs.settings import flag_help

if TYPE_CHECKING:
    import pandas as pd

    from modeconn.adapters.adapter import Adapter
    from modeconn.evaluation.matrix import BarrierMatrix
    from modeconn.models.adapter_model import AdapterModel
    from modeconn.runs import RunFolder
    from modeconn.runs.processes import Processes
    from modeconn.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Settings(StatisticsSettings, SweepSettings):
    """Which checkpoints, and what to measure between them."""

    points: tuple[str, ...] = field(metadata=flag_help("checkpoints in the order of the run: folders or hub ids"))
    pairs: Literal["all", "consecutive"] = field(default="all", metadata=flag_help("which of them are joined by lines"))
    space: Literal["weights", "factors", "aligned-factors"] = field(
        default="weights", metadata=flag_help("coordinates of the lines")
    )
    heads: Literal["shared", "skip"] | None = field(
        default=None, metadata=flag_help("whose head counts on a line, where heads differ: the start's, the base's")
    )
    num_points: int = field(default=11, metadata=flag_help("evenly spaced positions on every line, ends included"))
    baseline: Literal["chord", "mean"] = field(
        default="chord", metadata=flag_help("from what the figure's barriers are measured; the table has both")
    )

    @property
    def sources(self) -> tuple[str, ...]:
        """The checkpoints."""
        return self.points

    def resolved(self) -> "Settings":
        """The same settings with absolute paths."""
        from modeconn.runs import resolved

        return replace(super().resolved(), points=tuple(resolved(point) for point in self.points))


def run(settings: Settings, processes: "Processes | None" = None) -> int:
    """Measure all pairs and write their run folder; a finished one is shown again."""
    from modeconn.adapters.adapter import Adapter
    from modeconn.cli.naming import named
    from modeconn.errors import EvaluationError
    from modeconn.evaluation.evaluate import positions_asked
    from modeconn.paths import LinearPath

    positions_asked(num_points=settings.num_points)
    check_statistics(**settings.statistics)
    if len(set(settings.points)) < max(len(settings.points), 2):
        raise EvaluationError(
            "there are no pairs to join",
            expected="two different checkpoints or more",
            got=f"{len(settings.points)} given, {len(set(settings.points))} different",
            remedy="give --points A B C",
        )
    points = [Adapter.from_pretrained(source, name=name) for source, name in named(settings.points)]
    pairs = list(combinations(points, 2) if settings.pairs == "all" else pairwise(points))
    first = LinearPath(*pairs[0], space=settings.space, heads=settings.heads)

    def measure(folder: "RunFolder", model: "AdapterModel", tasks: "list[Task]") -> "BarrierMatrix":
        return _measured(settings, folder, points, model, tasks)

    def write(folder: "RunFolder", _model: "AdapterModel", _tasks: "list[Task]", matrix: "BarrierMatrix") -> None:
        _write(settings, folder, matrix)

    # Every checkpoint once, and the positions between the ends of every line.
    num_points = len(points) + len(pairs) * (settings.num_points - 2)
    plan = [(first, {"num_points": num_points, "num_ends": len(points)})]
    return Measurement("matrix", settings, points, plan, processes=processes).run(measure, _show, write)


def _measured(
    settings: Settings, folder: "RunFolder", points: "list[Adapter]", model: "AdapterModel", tasks: "list[Task]"
) -> "BarrierMatrix":
    """The lines between all pairs."""
    from modeconn.cli.progress import progress
    from modeconn.evaluation.pairs import barrier_matrix
    from modeconn.evaluation.store import RunPointStore

    with progress(quiet=settings.quiet) as report:
        return barrier_matrix(
            points,
            model,
            tasks,
            pairs=settings.pairs,
            space=settings.space,
            heads=settings.heads,
            num_points=settings.num_points,
            split=settings.split,
            settings=settings.encoding(),
            store=RunPointStore(folder),
            progress=report,
        )


def _write(settings: Settings, folder: "RunFolder", matrix: "BarrierMatrix") -> None:
    """Tables and figures."""
    from modeconn.plotting import plot_barriers, save_figure
    from modeconn.plotting.barrier_matrix import plot_barrier_matrix
    from modeconn.plotting.saddle_tree import plot_saddle_tree

    trees, barriers = matrix.trees(), matrix.profile.barriers(**settings.statistics)
    pairs = with_intervals(matrix.frame, barriers)
    folder.record(checks=dict(matrix.profile.checks))
    folder.write_csv(pairs, "pairs.csv")
    folder.write_csv(barriers, "barriers.csv")
    folder.write_csv(matrix.profile.frame, "profile.csv")
    folder.write_parquet(matrix.profile.examples, "examples.parquet")
    if matrix.profile.outputs is not None:
        folder.write_parquet(matrix.profile.outputs, "outputs.parquet")
    folder.write_csv(trees, "tree.csv")
    with folder.replacing("figures") as figures:
        figures.mkdir()
        heat = plot_barrier_matrix(pairs, baseline=settings.baseline)
        save_figure(heat, figures / "barriers", table=pairs)
        save_figure(plot_saddle_tree(trees), figures / "tree", table=trees)
        own = barriers.loc[barriers["baseline"] == settings.baseline]
        if own["low"].notna().to_numpy().any():
            save_figure(plot_barriers(own), figures / "intervals", table=own)


def with_intervals(pairs: "pd.DataFrame", barriers: "pd.DataFrame") -> "pd.DataFrame":
    """The pairs with low, high and p_holm of both baselines, such as `low_chord`.

    Args:
        pairs: One row for each pair and task, with path and task.
        barriers: The loss barriers of all paths, as `Profile.barriers` gives them; p-values are adjusted over all pairs
            and tasks.
    """
    keys = ["path", "task"]
    for baseline, own in barriers.groupby("baseline", sort=False):
        added = own.reindex(columns=[*keys, "low", "high", "p_holm"])
        renamed = added.rename(columns={name: f"{name}_{baseline}" for name in ("low", "high", "p_holm")})
        pairs = pairs.merge(renamed, on=keys, how="left", validate="one_to_one")
    return pairs


def _show(folder: "RunFolder") -> list[str]:
    """Print the barriers of every pair and the tree of saddles; returns remarks on intervals."""
    from modeconn.cli.tables import print_table
    from modeconn.evaluation.barrier_table import remarks
    from modeconn.runs import read_csv

    pairs = read_csv(folder.folder / "pairs.csv")
    first = pairs.iloc[0]
    shown = [
        "start",
        "end",
        "task",
        "barrier_chord",
        "low_chord",
        "high_chord",
        "p_holm_chord",
        "barrier_mean",
        "saddle",
    ]
    barriers = read_csv(folder.folder / "barriers.csv")
    kept = f"{first['split']} split, space={first['space']}, loss in nats"
    intervals = f", {100 * barriers['confidence'].iloc[0]:g} % intervals" if "confidence" in barriers else ""
    print_table(pairs.reindex(columns=shown), title=kept + intervals)
    print()
    print_table(read_csv(folder.folder / "tree.csv"), title="minimum spanning tree of saddles")
    return remarks(barriers)
