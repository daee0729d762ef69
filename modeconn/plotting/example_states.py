"""Which examples are kept, lost and won along a path, from per-example records."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from modeconn.errors import EvaluationError, RunError, listed

from . import columns

FIGURE = "examples along a path"

KEPT, WON, LOST, NEVER = range(4)
WORDS = ("right as at t = 0", "won since t = 0", "lost since t = 0", "wrong as at t = 0")


@dataclass(frozen=True)
class States:
    """What became of every example of a task since the start of a path.

    Attributes:
        t: Positions, `[T]`, increasing, the first 0.
        state: `KEPT`, `WON`, `LOST` or `NEVER`, `[N, T]`; the examples in the order in which a strip shows them, from
            its lower edge: kept all the way, lost late, lost early, won early, won late, never right.
        examples: Their numbers, `[N]`.
    """

    t: np.ndarray
    state: np.ndarray
    examples: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """The share of the examples in each state, `[4, T]`, in the order of `WORDS`."""
        return np.stack([(self.state == one).mean(axis=0) for one in range(len(WORDS))])

    def counts_at_end(self) -> tuple[int, int]:
        """How many are lost and how many are won at the last position."""
        return int((self.state[:, -1] == LOST).sum()), int((self.state[:, -1] == WON).sum())


def checked_records(frame: pd.DataFrame) -> pd.DataFrame:
    """A copy of the records with names as text and numbers as float64, once they can be drawn.

    Args:
        frame: Columns path, task, t, example, score.

    Raises:
        EvaluationError: Columns, rows, names or numbers are missing, out of range, or said twice.
    """
    columns.require_columns(frame, ("path", "task", "t", "example", "score"), figure=FIGURE)
    columns.require_names(frame, ("path", "task", "example"), figure=FIGURE)
    for column in ("t", "score"):
        keys = ("path", "task", "t", "example")
        columns.require_range(frame, column, figure=FIGURE, keys=keys, low=0, high=1)
    columns.require_single(frame, ("path", "task", "t", "example"), figure=FIGURE)
    texts = {column: frame[column].astype(str) for column in ("path", "task")}
    return frame.assign(**texts, **{column: columns.numbers(frame, column) for column in ("t", "score")})


def states_of(own: pd.DataFrame, *, right_from: float) -> States:
    """The states of one task's examples along one path.

    Args:
        own: Checked records of one path and task.
        right_from: The least score of an example that counts as right.

    Raises:
        EvaluationError: If examples are missing at a position, or t = 0 was not measured, or nothing else.
    """
    table = own.pivot(index="example", columns="t", values="score")  # [N, T]
    t = table.columns.to_numpy(dtype=float)
    gaps = table.index.to_numpy()[np.isnan(table.to_numpy(dtype=float)).any(axis=1)]
    if len(gaps) or len(t) < 2 or t[0] != 0:
        raise EvaluationError(
            f"cannot draw {FIGURE}: {own['task'].iloc[0]} was not followed from t = 0",
            expected="every example at every position, t = 0 and another one at least",
            got=f"positions {', '.join(f'{one:g}' for one in t[:5])}{', ...' if len(t) > 5 else ''}; "
            f"incomplete: {listed(map(str, gaps))}",
            remedy="pass the records as the run wrote them",
        )
    right = table.to_numpy() >= right_from
    order = _order(right)
    at_start = right[:, :1]
    state = np.where(at_start, np.where(right, KEPT, LOST), np.where(right, WON, NEVER))
    return States(t, state[order], table.index.to_numpy()[order])


def require_threshold(right_from: float) -> None:
    """A score that some examples reach and others do not.

    Raises:
        RunError: If it is not in (0, 1].
    """
    if not 0 < right_from <= 1:
        raise RunError(
            f"cannot draw {FIGURE} with right_from={right_from!r}",
            expected="a score above 0 and at most 1",
            got=repr(right_from),
            remedy="pass the least score of an example that counts as right",
        )


def _order(right: np.ndarray) -> np.ndarray:
    """The order of the strip, from `[N, T]` booleans: by what they were at the start, then by their first change."""
    changed = right != right[:, :1]
    never = right.shape[1]
    first = np.where(changed.any(axis=1), changed.argmax(axis=1), never)
    often = changed.sum(axis=1)
    at_start = right[:, 0]
    # Right at the start: latest loss first, of equals those lost for longest last. Wrong: earliest win first.
    by_change = np.where(at_start, -first, first)
    by_number = np.where(at_start, often, -often)
    return np.lexsort((by_number, by_change, ~at_start))
