"""What an evaluation is refused, or remarked on, before anything is measured."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modeconn.cli.evaluate import Settings
    from modeconn.paths.path import Path
    from modeconn.tasks.task import Task


def check_choices(settings: "Settings") -> None:
    """Raise if settings that say which examples count and which positions cannot be followed together.

    Raises:
        EvaluationError: If they cannot.
    """
    from modeconn.errors import EvaluationError

    if settings.choose_on is not None and settings.choose_on == settings.split:
        raise EvaluationError(
            "a position cannot be chosen and reported on one split",
            expected="two splits: a choice looks better where it was made",
            got=f"--choose-on {settings.choose_on} --split {settings.split}",
            remedy="choose on the validation split: --choose-on eval",
        )
    if settings.choose_on is None and settings.choose_by != "score":
        raise EvaluationError(
            "there is nothing to choose by loss",
            expected="--choose-by with --choose-on",
            got=f"--choose-by {settings.choose_by} alone",
            remedy="name the split on which t is chosen: --choose-on eval",
        )
    tolerance = settings.tolerance or settings.absolute_tolerance
    both = [flag for flag, one in (("--tolerance", tolerance), ("--choose-on", settings.choose_on)) if one]
    if (settings.precision is not None and both) or len(both) == 2:
        raise EvaluationError(
            "these settings choose positions or examples in ways that exclude one another",
            expected="one of --precision, --tolerance and --choose-on",
            got=", ".join((["--precision"] if settings.precision is not None else []) + both),
            remedy="make one run for each, in folders of their own",
        )
    if settings.precision is not None and settings.mixture:
        raise EvaluationError(
            "a mixture of tasks has no precision of its own",
            expected="--precision, under which every task takes as many examples as it needs, or --mixture",
            got="both",
            remedy="leave out --precision, so that all examples of every task count in the mixture",
        )
    if settings.precision is not None and settings.matmul_precision != "float32":
        raise EvaluationError(
            "a precision in nats is not reached with rounded products",
            expected="--precision, which says how sure a barrier is, or --matmul-precision, which moves it",
            got="both",
            remedy="leave one out",
        )
    if bool(settings.old_task) != bool(settings.new_task):
        raise EvaluationError(
            "a trade-off needs two tasks",
            expected="--old-task and --new-task",
            got="one of them",
            remedy="give both, or none: with two tasks the first is the old one",
        )


def check_named_tasks(settings: "Settings", tasks: "Sequence[Task]") -> None:
    """Raise if settings name tasks that are not evaluated.

    Raises:
        EvaluationError: If they do, or a trade-off is of one task with itself.
    """
    from modeconn.cli.mixture_setting import check_mixture
    from modeconn.errors import EvaluationError, listed

    names = [task.name for task in tasks]
    check_mixture(settings.weights, names)
    given = [task for task in (settings.old_task, settings.new_task) if task]
    if not set(given) <= set(names) or len(set(given)) < len(given):
        raise EvaluationError(
            "there is no trade-off between these tasks",
            expected=f"two of {listed(names)}",
            got=f"--old-task {settings.old_task} --new-task {settings.new_task}",
            remedy="name tasks as they stand in the column task of profile.csv",
        )


def notes_on_plan(settings: "Settings") -> list[str]:
    """What a dry run does not count.

    Args:
        settings: Those of the run.
    """
    notes = []
    if settings.precision is not None:
        notes.append(
            "--precision: a run takes 200 examples of a task first, then twice as many until its barrier is known well"
            " enough; what stands above is all of them, the most that it can come to"
        )
    if settings.lm_eval:
        notes.append("--lm-eval: the benchmarks of the harness are not counted above")
    return notes


def refuse_one_source(rows: Sequence[Sequence[str]]) -> None:
    """Raise if a checkpoint is followed by itself.

    Args:
        rows: Checkpoints in rows, joined by a line each.

    Raises:
        PathError: If a line would begin and end in one folder.
    """
    from itertools import pairwise

    from modeconn.errors import PathError
    from modeconn.runs import resolved

    for start, end in (pair for row in rows for pair in pairwise(row)):
        if resolved(start) == resolved(end):
            raise PathError(
                "there is nothing between a checkpoint and itself",
                expected="lines between two different checkpoints",
                got=f"{start} at both ends",
                remedy="give the other checkpoint; a copy of it in a folder of its own is evaluated, with a note",
            )


def on_equal_ends(paths: "Sequence[Path]") -> list[str]:
    """One remark for each path that ends where it starts.

    Args:
        paths: The paths.
    """
    return [
        f"both ends of {path.name} are one point: a barrier between them is none between two checkpoints, and on a line"
        " its height, interval and p-value are those of rounding"
        for path in paths
        if path.points[0].fingerprint == path.points[-1].fingerprint
    ]
