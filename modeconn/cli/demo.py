"""Train a small model on some tasks in sequence, join consecutive checkpoints by lines, and measure the barriers.

Everything it needs comes with modeconn: a base model of 4 million parameters and generated tasks. It takes about two
minutes on two cores.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from modeconn.runs.settings import flag_help

if TYPE_CHECKING:
    from modeconn.adapters.adapter import Adapter
    from modeconn.continual.trainer import TrainRun
    from modeconn.runs import RunFolder
    from modeconn.tasks.task import Task

LEARNING_RATE = 3e-3


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where the demo goes, what it trains on and how fine it looks."""

    output_dir: Path = field(default=Path("runs/demo"), metadata=flag_help("folder of the run"))
    tasks: tuple[str, ...] = field(
        default=("stance", "tone", "science"), metadata=flag_help("embedded tasks in training order, two or more")
    )
    num_train_epochs: int = field(default=5, metadata=flag_help("passes over every task's train split"))
    num_points: int = field(default=11, metadata=flag_help("positions on every line, ends included"))
    seed: int = 0
    overwrite: bool = False
    quiet: bool = False


def run(settings: Settings) -> int:
    """Train, evaluate, print and draw."""
    from modeconn.adapters.adapter import Adapter
    from modeconn.cli.progress import say_shown_again
    from modeconn.runs import RunFolder
    from modeconn.tasks.task import Task

    embedded = Path(str(files("modeconn.embedded")))
    _check_names(settings.tasks, embedded / "tasks")
    tasks = [Task.load(embedded / "tasks" / name) for name in settings.tasks]
    trained = _train(settings, embedded / "base", tasks)
    points = [Adapter.from_pretrained(checkpoint) for checkpoint in trained.checkpoints]
    folder = RunFolder.open(
        settings.output_dir / "lines",
        command="demo",
        settings=settings,
        hashes={
            **{f"adapter {point.name}": point.fingerprint for point in points},
            **{f"task {task.name}": task.fingerprint for task in tasks},
        },
        overwrite=settings.overwrite,
    )
    if folder.finished:
        say_shown_again(folder.folder)
    else:
        with folder:
            _evaluate(settings, folder, trained, points, tasks)
    _print_result(folder, trained, settings.tasks)
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


def _train(settings: Settings, base: Path, tasks: "list[Task]") -> "TrainRun":
    """One checkpoint after each task."""
    from modeconn.cli.progress import progress
    from modeconn.continual.trainer import train

    if not settings.quiet:
        print(f"training on {', then '.join(task.name for task in tasks)}", file=sys.stderr)
    with progress(quiet=settings.quiet) as report:
        return train(
            settings.output_dir / "train",
            base,
            tasks,
            overwrite=settings.overwrite,
            progress=report,
            learning_rate=LEARNING_RATE,
            num_train_epochs=settings.num_train_epochs,
            seed=settings.seed,
        )


def _evaluate(
    settings: Settings, folder: "RunFolder", trained: "TrainRun", points: "list[Adapter]", tasks: "list[Task]"
) -> None:
    """The lines between consecutive checkpoints."""
    from modeconn.cli.profile_files import write_profile
    from modeconn.cli.profile_tables import tables_of
    from modeconn.cli.progress import progress
    from modeconn.evaluation.evaluate import evaluate_path
    from modeconn.evaluation.profile import Profile
    from modeconn.evaluation.store import RunPointStore
    from modeconn.models.adapter_model import AdapterModel
    from modeconn.paths.line import LinearPath
    from modeconn.plotting import plot_score_matrix, save_figure

    lines = [LinearPath(start, end) for start, end in pairwise(points)]
    model = AdapterModel.from_pretrained(adapters=points)
    folder.record(
        device=str(model.device),
        dtype="float32",
        seeds={"seed": settings.seed},
        hashes={"base model": model.fingerprint},
    )
    store = RunPointStore(folder)
    with progress(quiet=settings.quiet) as report:
        profile = Profile.concat(
            [
                evaluate_path(line, model, tasks, num_points=settings.num_points, store=store, progress=report)
                for line in lines
            ]
        )
    write_profile(folder, profile, tables_of(profile, tasks), mean_of=_old_and_new(trained, settings.tasks))
    with folder.replacing("score-matrix") as figures:
        figures.mkdir()
        for metric, scores in trained.scores.query("metric != 'loss'").groupby("metric"):
            save_figure(plot_score_matrix(scores, metric=str(metric)), figures / str(metric), table=scores)


def _old_and_new(trained: "TrainRun", tasks: Sequence[str]) -> dict[str, list[str]]:
    """Line -> the task that its start was trained on last, and the one of its end."""
    names = [checkpoint.name for checkpoint in trained.checkpoints]
    pairs = zip(pairwise(names), pairwise(tasks), strict=True)
    return {f"{start} -> {end}": [old, new] for (start, end), (old, new) in pairs}


def _print_result(folder: "RunFolder", trained: "TrainRun", tasks: Sequence[str]) -> None:
    """The score matrix, the lines and the barriers."""
    from modeconn.cli.profile_files import barrier_summary, ends_and_best
    from modeconn.cli.tables import print_score_matrix, print_table
    from modeconn.runs import read_csv

    print_score_matrix(trained.scores)
    print()
    ends = ends_and_best(read_csv(folder.folder / "profile.csv"), mean_of=_old_and_new(trained, tasks))
    print_table(ends, title="lines in weights space, test split; best t: lowest mean loss of old and new task")
    print()
    print_table(barrier_summary(read_csv(folder.folder / "barriers.csv")), title="barriers")
    print(f"\nfigures: {folder.folder / 'figures' / 'profile.png'}")
