"""Many checkpoints: evaluating the lines between all pairs of them, or between consecutive ones."""

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from typing import Any, Literal, cast, get_args

import pandas as pd

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.heads import Heads
from modeconn.errors import EvaluationError, listed
from modeconn.evaluation.barrier import barrier
from modeconn.evaluation.evaluate import PointStore, Progress, check_tasks, grid
from modeconn.evaluation.matrix import PAIR_COLUMNS, BarrierMatrix
from modeconn.evaluation.preconditions import preconditions
from modeconn.evaluation.profile import Profile
from modeconn.evaluation.progress import tell_tokens, told
from modeconn.evaluation.records import Records, placed
from modeconn.evaluation.surface import refuse_two_heads
from modeconn.models.point_model import PointModel
from modeconn.paths.line import LinearPath
from modeconn.paths.path import Path, Space
from modeconn.tasks.encoding import EncodingSettings

Pairs = Literal["all", "consecutive"]
_PROGRESS = "points of all lines"


def barrier_matrix(
    points: Sequence[Adapter],
    model: PointModel,
    tasks: Sequence[Any],
    *,
    pairs: Pairs = "all",
    space: Space = "weights",
    heads: Heads | None = None,
    num_points: int = 11,
    split: str = "test",
    settings: EncodingSettings | None = None,
    check: bool = True,
    store: PointStore | None = None,
    progress: Progress | None = None,
) -> BarrierMatrix:
    """Evaluate all tasks along the lines between many checkpoints.

    A checkpoint is compared with plain PEFT once and evaluated once, however many lines end in it; every point sees
    the same batches.

    Args:
        points: The checkpoints, in the order of the run; their names must differ.
        model: The model.
        tasks: The tasks; their names must differ.
        pairs: "all", or "consecutive" for each checkpoint and the next.
        space: The coordinates of the lines.
        heads: Whose head counts on a line, "shared" or "skip"; None where heads are coordinates.
        num_points: Evenly spaced positions on every line, ends included.
        split: Which split of every task.
        settings: How examples become tokens.
        check: Whether to compare the checkpoints with plain PEFT.
        store: Keeps finished points, so that an interrupted evaluation goes on.
        progress: Called as `progress(done, total, what)` after every point.

    Returns:
        The matrix.

    Raises:
        EvaluationError: If there are fewer than two points, two have one name, the model is not deterministic, a
            checkpoint is not what PEFT loads, or a loss is not finite.
        ModelError: If a point does not fit the model.
        PathError: If two points cannot be joined.
        TaskError: If a task lacks the split or cannot be encoded.
    """
    check_tasks(tasks)
    _check_names(points, pairs)
    positions = grid(num_points)
    joined = list(combinations(points, 2) if pairs == "all" else pairwise(points))
    lines = [LinearPath(*pair, space=space, heads=heads) for pair in joined]
    refuse_two_heads(lines[0])
    # A policy for heads may give one checkpoint different heads on different lines.
    ends = list({end.fingerprint: end for line in lines for end in (line.start, line.end)}.values())
    for end in ends:
        model.check(end)
    encoded = [model.encode(task, split, settings) for task in tasks]
    checks = preconditions(lines[0], model, encoded, ends, against_peft=check, called="ends", store=store)
    tell_tokens(progress, _PROGRESS, encoded)
    known: dict[str, pd.DataFrame] = {}
    profiles = []
    for number, line in enumerate(line.on(model) for line in lines):
        found = _along(Records(line, model, encoded, store=store), line, positions.tolist(), known)
        shares = {"total": len(lines) * len(positions), "done": number * len(positions)}
        profiles.append(
            Profile.from_examples(
                pd.concat(told(found, progress, _PROGRESS, **shares), ignore_index=True),
                space=space,
                split=split,
                metrics={one.task: one.metric for one in encoded},
                distances={t: line.distance(t) for t in positions.tolist()},
                checks={line.name: checks},
            )
        )
    names = [(line.name, start.name, end.name) for line, (start, end) in zip(lines, joined, strict=True)]
    profile = Profile.concat(profiles)
    return BarrierMatrix(_pair_table(profile.frame, names), profile, tuple(point.name for point in points))


def _along(
    points: Records, line: Path, positions: Sequence[float], known: dict[str, pd.DataFrame]
) -> Iterator[pd.DataFrame]:
    """The records of every position on a line; an end that an earlier line has too is in `known`, or put there."""
    ends = {0.0: line.start.fingerprint, 1.0: line.end.fingerprint}
    new = [t for t in positions if ends.get(t) not in known]
    fresh = points.at(new)
    for t in positions:
        records = next(fresh) if t in new else placed(known[ends[t]], line.name, t)
        if t in ends:
            known[ends[t]] = records
        yield records


def _check_names(points: Sequence[Adapter], pairs: str) -> None:
    """Raise unless there are two points or more with names of their own, and the choice of pairs is known."""
    if pairs not in get_args(Pairs):
        raise EvaluationError(
            f"unknown pairs {pairs!r}", expected="all or consecutive", got=repr(pairs), remedy='use pairs="all"'
        )
    names = [point.name for point in points]
    if len(names) < 2 or len(set(names)) < len(names):
        raise EvaluationError(
            "the checkpoints cannot be told apart" if len(names) > 1 else "too few checkpoints for a matrix",
            expected="two checkpoints or more, each with a name of its own",
            got=listed(names),
            remedy="name them: Adapter.from_pretrained(folder, name=...)",
        )


def _pair_table(frame: pd.DataFrame, names: Sequence[tuple[str, str, str]]) -> pd.DataFrame:
    """One row for each line and task, from the profiles' table and the names of every line and its ends."""
    ends = {path: (start, end) for path, start, end in names}
    rows = []
    for key, own in frame.groupby(["path", "space", "task", "split"], sort=False):
        path, space, task, split = cast(tuple[str, str, str, str], key)
        t, loss = own["t"].to_numpy(), own["loss"].to_numpy()
        chord, mean = barrier(t, loss), barrier(t, loss, baseline="mean")
        highest = int(loss.argmax())
        rows.append((
            *ends[path], path, space, task, split, chord.height, chord.t, mean.height, mean.t, loss[highest],
            t[highest], loss[0], loss[-1], len(own), int(own["num_examples"].iloc[0]),
        ))  # fmt: skip
    return pd.DataFrame(rows, columns=list(PAIR_COLUMNS))
