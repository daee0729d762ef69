"""What an evaluation is refused, or remarked on, before anything is measured."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modeconn.paths.path import Path


def check_statistics(confidence: float, num_resamples: int, seed: int) -> None:
    """Raise unless intervals can be had with these settings.

    Args:
        confidence: That of the intervals.
        num_resamples: Resamples of the examples.
        seed: Of the resampling.

    Raises:
        EvaluationError: If they cannot.
    """
    from modeconn.errors import EvaluationError
    from modeconn.evaluation.paired import check_confidence

    check_confidence(confidence, num_resamples)
    if seed < 0:
        raise EvaluationError(
            "no resampling from this seed",
            expected="a whole number, 0 or more",
            got=f"--seed {seed}",
            remedy="leave it out for 0",
        )


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
        f"both ends of {path.name} are one point: a barrier between them is none between two checkpoints"
        for path in paths
        if path.points[0].fingerprint == path.points[-1].fingerprint
    ]
