"""Train a small model on some tasks in sequence, plainly and by I-LoRA; measure what lies between the checkpoints.

Everything it needs comes with modeconn: a base model of 4 million parameters and generated tasks. It takes two to three
minutes on two cores. A run folder each for the training by either method, for the lines between consecutive
checkpoints, and for what the methods have in common: sequential, ilora, lines/sequential, comparison.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from modeconn.runs.settings import flag_help

if TYPE_CHECKING:
    import pandas as pd

    from modeconn.continual.trainer import TrainRun
    from modeconn.runs import RunFolder
    from modeconn.tasks.task import Task

LEARNING_RATE = 3e-3
METHODS: dict[str, dict[str, Any]] = {"sequential": {}, "ilora": {"memory_batch_size": 4}}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where the demo goes, what it trains on and how fine it looks."""

    output_dir: Path = field(default=Path("runs/demo"), metadata=flag_help("folder of the runs"))
    tasks: tuple[str, ...] = field(
        default=("stance", "tone", "science"), metadata=flag_help("embedded tasks in training order, two or more")
    )
    num_train_epochs: int = field(default=3, metadata=flag_help("passes over every task's train split"))
    num_points: int = field(default=7, metadata=flag_help("positions on every line, ends included"))
    lines: tuple[Literal["sequential", "ilora"], ...] = field(
        default=("sequential",), metadata=flag_help("methods whose checkpoints are joined; every one takes a minute")
    )
    seed: int = 0
    overwrite: bool = False
    quiet: bool = False


def run(settings: Settings) -> int:
    """Train, evaluate, print and draw."""
    from modeconn.cli.tables import print_score_matrix
    from modeconn.tasks.task import Task

    embedded = Path(str(files("modeconn.embedded")))
    _check_names(settings.tasks, embedded / "tasks")
    tasks = [Task.load(embedded / "tasks" / name) for name in settings.tasks]
    runs = {method: _train(settings, method, embedded / "base", tasks) for method in METHODS}
    for method, trained in runs.items():
        print(f"\n{method}\n")
        print_score_matrix(trained.scores)
        if method in settings.lines:
            _lines(settings, method, trained, tasks)
    _compare(settings, runs)
    return 0


def _check_names(names: Sequence[str], folder: Path) -> None:
    """Raise unless there are two embedded tasks or more: a line joins the checkpoints of two."""
    from modeconn.errors import TaskError, listed

    embedded = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if len(names) < 2 or not set(names) <= set(embedded):
        raise TaskError(
            "the demo cannot be run on these tasks",
            expected=f"two or more of {listed(embedded)}",
            got=", ".join(names),
            remedy="choose among them, or use modeconn train and modeconn evaluate with tasks of your own",
        )


def _train(settings: Settings, method: str, base: Path, tasks: "list[Task]") -> "TrainRun":
    """One checkpoint after each task."""
    from modeconn.cli.progress import progress
    from modeconn.continual.trainer import train

    if not settings.quiet:
        print(f"training on {', then '.join(task.name for task in tasks)}: {method}", file=sys.stderr)
    with progress(quiet=settings.quiet) as report:
        return train(
            settings.output_dir / method,
            base,
            tasks,
            overwrite=settings.overwrite,
            progress=report,
            method=method,
            method_options=METHODS[method],
            learning_rate=LEARNING_RATE,
            num_train_epochs=settings.num_train_epochs,
            seed=settings.seed,
        )


def _lines(settings: Settings, method: str, trained: "TrainRun", tasks: "list[Task]") -> None:
    """The lines between consecutive checkpoints: tables, figures, and what they say in short."""
    from modeconn.adapters.adapter import Adapter
    from modeconn.cli.profile_files import barrier_summary, ends_and_best, write_profile
    from modeconn.cli.profile_tables import tables_of
    from modeconn.cli.progress import progress, say_shown_again
    from modeconn.cli.tables import print_table
    from modeconn.evaluation.evaluate import evaluate_path
    from modeconn.evaluation.profile import Profile
    from modeconn.evaluation.store import RunPointStore
    from modeconn.models.adapter_model import AdapterModel
    from modeconn.paths.line import LinearPath
    from modeconn.runs import RunFolder, read_csv

    points = [Adapter.from_pretrained(checkpoint) for checkpoint in trained.checkpoints]
    folder = RunFolder.open(
        settings.output_dir / "lines" / method,
        command="demo",
        settings=settings,
        hashes={
            **{f"adapter {point.name}": point.fingerprint for point in points},
            **{f"task {task.name}": task.fingerprint for task in tasks},
        },
        overwrite=settings.overwrite,
    )
    mean_of = _old_and_new(trained, settings.tasks)
    if folder.finished:
        say_shown_again(folder.folder)
    else:
        with folder, progress(quiet=settings.quiet) as report:
            model = AdapterModel.from_pretrained(adapters=points)
            folder.record(
                device=str(model.device),
                dtype="float32",
                seeds={"seed": settings.seed},
                hashes={"base model": model.fingerprint},
            )
            lines, store = [LinearPath(start, end) for start, end in pairwise(points)], RunPointStore(folder)
            profile = Profile.concat(
                [
                    evaluate_path(line, model, tasks, num_points=settings.num_points, store=store, progress=report)
                    for line in lines
                ]
            )
            write_profile(folder, profile, tables_of(profile, tasks), mean_of=mean_of)
    ends = ends_and_best(read_csv(folder.folder / "profile.csv"), mean_of=mean_of)
    print()
    title = f"{method}: lines in weights space, test split; best t: lowest mean loss of old and new task"
    print_table(ends, title=title)
    print()
    print_table(barrier_summary(read_csv(folder.folder / "barriers.csv")), title=f"{method}: barriers")
    print(f"\nfigures: {folder.folder / 'figures' / 'profile.png'}")


def _old_and_new(trained: "TrainRun", tasks: Sequence[str]) -> dict[str, list[str]]:
    """Line -> the task that its start was trained on last, and the one of its end."""
    names = [checkpoint.name for checkpoint in trained.checkpoints]
    pairs = zip(pairwise(names), pairwise(tasks), strict=True)
    return {f"{start} -> {end}": [old, new] for (start, end), (old, new) in pairs}


def _compare(settings: Settings, runs: "Mapping[str, TrainRun]") -> None:
    """What the methods kept: all score matrices in one table, forgetting curves, and the measures side by side."""
    import pandas as pd

    from modeconn.cli.progress import say_shown_again
    from modeconn.cli.tables import print_table
    from modeconn.continual.scores import ScoreMatrix
    from modeconn.runs import RunFolder

    hashes = {
        f"{method} {path.name}": _fingerprint(path) for method, trained in runs.items() for path in trained.checkpoints
    }
    folder = RunFolder.open(
        settings.output_dir / "comparison",
        command="demo",
        settings=settings,
        hashes=hashes,
        overwrite=settings.overwrite,
    )
    scores = pd.concat([trained.scores for trained in runs.values()], ignore_index=True)
    if folder.finished:
        say_shown_again(folder.folder)
    else:
        with folder:
            folder.write_csv(scores, "scores.csv")
            _draw(folder, scores)
    measures = [{"method": method, **ScoreMatrix.from_frame(own).summary()} for method, own in _by_method(scores)]
    print()
    print_table(pd.DataFrame(measures), title="over all tasks, each in its own score")
    print(f"\nfigures: {folder.folder / 'figures' / 'forgetting.png'}")


def _draw(folder: "RunFolder", scores: "pd.DataFrame") -> None:
    """The score matrices of every method, and the forgetting curves of both in one figure, a metric each."""
    from modeconn.plotting import plot_forgetting, plot_score_matrix, save_figure

    with folder.replacing("figures") as figures:
        figures.mkdir()
        metrics = [str(metric) for metric in scores["metric"].unique() if metric != "loss"]
        for metric in metrics:
            own = scores.loc[scores["metric"] == metric]
            name = "forgetting" if len(metrics) == 1 else f"forgetting-{metric}"
            save_figure(plot_forgetting(own, metric=metric), figures / name, table=own)
            for method, matrix in _by_method(own):
                save_figure(plot_score_matrix(matrix, metric=metric), figures / f"{method}-{metric}", table=matrix)


def _by_method(scores: "pd.DataFrame") -> "list[tuple[str, pd.DataFrame]]":
    """Every method's rows."""
    return [(str(method), own) for method, own in scores.groupby("method", sort=False)]


def _fingerprint(checkpoint: Path) -> str:
    """What a checkpoint does."""
    from modeconn.adapters.adapter import Adapter

    return Adapter.from_pretrained(checkpoint).fingerprint
