"""What rounded matrix products do to a barrier: the positions that decide it, measured again in float32."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd


def rounded_products(
    records: Mapping[float, pd.DataFrame], exact_at: Callable[[Sequence[float]], Iterable[pd.DataFrame]]
) -> pd.DataFrame:
    """The loss barrier over the chord with rounded products and without, of the ends and each task's highest position.

    Both are of the position where the rounded profile is highest, so that they differ by rounding alone.

    Args:
        records: Position -> the per-example records of all tasks, both ends among them.
        exact_at: Measures positions with products in float32.

    Returns:
        One row for each task: path, task, t (of the rounded profile's barrier), barrier and barrier_float32 (nats over
        the chord, negative below it), mean_moved and example_moved: the largest difference of a mean loss per token
        and of an example's loss, over these three positions, relative to 1 + the loss.
    """
    positions = sorted(records)
    first = records[positions[0]]
    highest = {task: _highest(records, positions, task) for task in map(str, first["task"].unique())}
    wanted = sorted({positions[0], positions[-1], *highest.values()})
    exact = dict(zip(wanted, exact_at(wanted), strict=True))
    rows = []
    for task, t in highest.items():
        places = sorted({positions[0], t, positions[-1]})
        pairs = [(_of(records[place], task), _of(exact[place], task)) for place in places]
        means = np.array([[_mean(one) for one in pair] for pair in pairs])  # [P, 2]
        rows.append(
            {
                "path": first["path"].iloc[0],
                "task": task,
                "t": t,
                "barrier": _above(records, positions, task, t),
                "barrier_float32": _above(exact, positions, task, t),
                "mean_moved": (np.abs(means[:, 0] - means[:, 1]) / (1 + means[:, 1])).max(),
                "example_moved": max(_moved(*pair) for pair in pairs),
            }
        )
    return pd.DataFrame(rows)


def _highest(records: Mapping[float, pd.DataFrame], positions: Sequence[float], task: str) -> float:
    """The position between the ends where a task's mean loss is furthest above the chord."""
    inside = positions[1:-1] or positions[:1]
    return max(inside, key=lambda t: _above(records, positions, task, t))


def _above(records: Mapping[float, pd.DataFrame], positions: Sequence[float], task: str, t: float) -> float:
    """A task's mean loss at t above the chord of the ends, nats."""
    start, here, end = (_mean(_of(records[place], task)) for place in (positions[0], t, positions[-1]))
    return here - (1 - t) * start - t * end


def _of(records: pd.DataFrame, task: str) -> pd.DataFrame:
    """The records of one task."""
    return records.loc[records["task"] == task]


def _mean(records: pd.DataFrame) -> float:
    """The summed losses divided once by the scored tokens, nats."""
    return float(records["loss_sum"].to_numpy().sum() / records["num_tokens"].to_numpy().sum())


def _moved(found: pd.DataFrame, exact: pd.DataFrame) -> float:
    """The largest difference of an example's loss, relative to 1 + loss."""
    ours, theirs = (one["loss_sum"].to_numpy() for one in (found, exact))
    return float((np.abs(ours - theirs) / (1 + theirs)).max())
