"""What becomes of single examples along a path: their barriers, and which are lost and gained."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, cast, get_args

import numpy as np
import pandas as pd

from modeconn.errors import EvaluationError, listed
from modeconn.evaluation.barrier import Baseline, check_baseline, check_positions
from modeconn.evaluation.paired import Metric, above_baseline, check_metric
from modeconn.evaluation.paired_records import paired_records, records_by_path
from modeconn.tasks.task import Task

if TYPE_CHECKING:
    from modeconn.evaluation.profile import Profile

Status = Literal["kept", "lost on the way", "lost at the end", "gained", "found on the way", "never"]
LOST: tuple[Status, ...] = ("lost on the way", "lost at the end")
EXAMPLE_COLUMNS = (
    "path", "space", "task", "metric", "baseline", "example", "barrier", "t_at_max", "loss_start", "loss_end",
    "score_start", "score_end", "t_changed", "num_changes", "status",
)  # fmt: skip


def example_table(
    frame: pd.DataFrame,
    examples: pd.DataFrame,
    *,
    metric: Metric = "loss",
    baseline: Baseline = "chord",
    right_from: float = 0.5,
    texts: Iterable[Task] = (),
) -> pd.DataFrame:
    """The barrier and the fate of every example, see `Profile.example_barriers`.

    Args:
        frame: A profile's table.
        examples: Its per-example records.
        metric: "loss", or "score" for the barrier of the error `1 - score`.
        baseline: "chord" or "mean".
        right_from: The score from which an example counts as right.
        texts: The tasks, for their prompts and answers.

    Returns:
        One row for each path, task and example, with `EXAMPLE_COLUMNS`; prompt and answer where texts are given.

    Raises:
        EvaluationError: If metric or baseline is unknown, `right_from` is not in (0, 1], an example has a value that is
            not finite, the positions do not cover a path, or the texts are of other tasks.
    """
    check_metric(metric)
    check_baseline(baseline)
    if not 0 < right_from <= 1:
        raise EvaluationError(
            "no score can be right or wrong",
            expected="right_from above 0 and at most 1",
            got=f"right_from={right_from:g}",
            remedy="leave it out for scores of 0 and 1",
        )
    spaces = frame.groupby("path", sort=False)["space"].first()
    tables = []
    for path, tasks in records_by_path(examples).items():
        for task, records in tasks.items():
            names = {"path": path, "space": spaces[path], "task": task, "metric": metric, "baseline": baseline}
            tables.append(pd.DataFrame(names | _fates(records, metric, baseline, right_from)))
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(EXAMPLE_COLUMNS))
    table = table.reindex(columns=list(EXAMPLE_COLUMNS))
    given = {task.name: task for task in texts}
    return _with_texts(table, given, frame) if given else table


def lost_examples(
    profile: "Profile",
    tasks: Sequence[Task],
    *,
    statuses: Sequence[Status] = LOST,
    metric: Metric = "loss",
    baseline: Baseline = "chord",
    right_from: float = 0.5,
) -> pd.DataFrame:
    """The examples that are right at the start and not all along the path, with their text.

    Args:
        profile: The profile.
        tasks: The tasks whose examples are asked for, as they were evaluated.
        statuses: Those that are listed, see `Profile.example_barriers`.
        metric: "loss", or "score" for the barrier of the error.
        baseline: "chord" or "mean".
        right_from: The score from which an example counts as right.

    Returns:
        The columns of `Profile.example_barriers`, prompt and answer; by path and task, the highest barrier first.

    Raises:
        EvaluationError: If no task is given, a status is unknown, or as `Profile.example_barriers` raises it.

    Example:
        Of a profile and the tasks that it is of::

            lost_examples(profile, tasks)[["task", "status", "barrier", "prompt", "answer"]]
    """
    unknown = set(statuses) - set(get_args(Status))
    if unknown or not tasks:
        raise EvaluationError(
            "cannot list examples",
            expected=f"tasks, and statuses of {', '.join(get_args(Status))}",
            got=listed(unknown) if unknown else "no task",
            remedy="give the Task objects that were evaluated, and leave statuses out for those that are lost",
        )
    table = example_table(
        profile.frame, profile.examples, metric=metric, baseline=baseline, right_from=right_from, texts=tasks
    )
    wanted = table.loc[table["status"].isin(statuses) & table["task"].isin([task.name for task in tasks])]
    groups = wanted.groupby(["path", "task"], sort=False).ngroup()
    order = np.lexsort((-wanted["barrier"].to_numpy(dtype=float), groups.to_numpy()))
    return wanted.iloc[order].reset_index(drop=True)


def _fates(records: pd.DataFrame, metric: Metric, baseline: Baseline, right_from: float) -> dict[str, np.ndarray]:
    """The columns of one path and task, `[N]` each."""
    losses, errors = (paired_records(records, one) for one in ("loss", "score"))
    t, scores = check_positions(losses.t), records.pivot(index="example", columns="t", values="score").to_numpy(float)
    each = losses.sums / losses.tokens[:, None]
    above = above_baseline(t, each if metric == "loss" else errors.sums, baseline)
    top = above.argmax(axis=1)
    right = scores >= right_from
    other = right != right[:, :1]
    return {
        "example": losses.numbers,
        "barrier": np.take_along_axis(above, top[:, None], axis=1)[:, 0],
        "t_at_max": t[top],
        "loss_start": each[:, 0],
        "loss_end": each[:, -1],
        "score_start": scores[:, 0],
        "score_end": scores[:, -1],
        "t_changed": np.where(other.any(axis=1), t[other.argmax(axis=1)], np.nan),
        "num_changes": (right[:, 1:] != right[:, :-1]).sum(axis=1),
        "status": _statuses(right),
    }


def _statuses(right: np.ndarray) -> np.ndarray:
    """What becomes of examples, `[N, T] -> [N]`."""
    start, end = right[:, 0], right[:, -1]
    names = np.array(get_args(Status), dtype=object)
    cases = [start & end & right.all(axis=1), start & end, start, end, right.any(axis=1)]
    return np.select(cases, list(names[:-1]), default=names[-1])


def _with_texts(table: pd.DataFrame, tasks: Mapping[str, Task], frame: pd.DataFrame) -> pd.DataFrame:
    """The table with the prompts and answers of some tasks; missing for the others."""
    splits = frame.groupby("task", sort=False)["split"].first()
    prompts, answers = (pd.Series(pd.NA, index=table.index, dtype="string") for _ in range(2))
    for name, task in tasks.items():
        own = np.asarray(table["task"] == name)
        if not own.any():
            raise EvaluationError(
                f"there are no examples of {name!r} in the profile",
                expected=f"some of {listed(table['task'].unique())}",
                got=repr(name),
                remedy="give the tasks that were evaluated",
            )
        numbers = table.loc[own, "example"].to_numpy()
        found = task.split(cast(str, splits[name]))
        if numbers.max() >= len(found):
            raise EvaluationError(
                f"the profile is of other examples than the task {name!r} has",
                expected=f"numbers below {len(found)}, the examples of its split {splits[name]!r}",
                got=f"example {numbers.max()}",
                remedy="load the task as it was when it was evaluated",
            )
        prompts[own] = [found[number].shown for number in numbers]
        answers[own] = [found[number].answer for number in numbers]
    return table.assign(prompt=prompts, answer=answers)
