"""What a profile's figure reads from its table: checked rows, the tasks' mean, limits, and words."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from modeconn.errors import RunError, listed

from . import columns

Metric = Literal["loss", "score"]
FIGURE = "a profile"
MIXED_MEAN = "mean of the tasks in full colour"
"""The mean line's words where its tasks are too many to name, or differ from panel to panel."""

_NAMES = ("path", "space", "task", "split")
_RANGES = {"loss": (-np.inf, np.inf), "score": (0.0, 1.0)}


def checked_table(frame: pd.DataFrame, *, metric: Metric) -> pd.DataFrame:
    """A copy of the table with names as text and numbers as float64, once the metric's figure can be drawn.

    Args:
        frame: A table with the columns of `profile.csv`.
        metric: "loss" or "score".

    Raises:
        EvaluationError: Columns, rows, names or numbers are missing, or numbers are out of range.
        RunError: The metric is unknown.
    """
    columns.require_choice("metric", metric, tuple(_RANGES))
    named = [*_NAMES, "metric"] if metric == "score" else list(_NAMES)
    columns.require_columns(frame, [*named, "t", metric, "num_examples", "num_tokens"], figure=FIGURE)
    columns.require_names(frame, named, figure=FIGURE)
    counts = {"num_examples": (1.0, np.inf), "num_tokens": (1.0, np.inf)}
    ranges = {"t": (0.0, 1.0), metric: _RANGES[metric], **counts}
    for column, (low, high) in ranges.items():
        columns.require_range(frame, column, figure=FIGURE, keys=("path", "task", "t"), low=low, high=high)
    bands = [side for side in (f"{metric}_low", f"{metric}_high") if side in frame]
    for side in bands:  # a band may be missing, but not infinite
        present = columns.rows_where(frame, frame[side].notna().to_numpy())
        columns.require_range(present, side, figure=FIGURE, keys=("path", "task", "t"), low=-np.inf, high=np.inf)
    texts = {column: frame[column].astype(str) for column in named}
    return frame.assign(**texts, **{column: columns.numbers(frame, column) for column in [*ranges, *bands]})


def in_setting(rows: pd.DataFrame, *, split: str | None, space: str | None) -> pd.DataFrame:
    """The rows of one split and one space; by default of all spaces where no path is there in several.

    Raises:
        RunError: Several and none chosen, or the chosen one is not there.
    """
    rows = columns.pick(rows, "split", split, figure=FIGURE, remedy="pass split= with one of them")
    if space is None and len(rows[["path", "space"]].drop_duplicates()) == len(names(rows, "path")):
        return rows  # a panel names the space of its path
    return columns.pick(rows, "space", space, figure=FIGURE, remedy="pass space= with one of them")


def of_path(rows: pd.DataFrame, path: str | None) -> pd.DataFrame:
    """The rows of one path.

    Raises:
        RunError: Several paths and none chosen, or the chosen one is not there.
    """
    remedy = "pass path= with one of them, or draw all of them with plot_profiles"
    return columns.pick(rows, "path", path, figure=FIGURE, remedy=remedy)


def ordered(rows: pd.DataFrame) -> pd.DataFrame:
    """One path's rows by t; tasks keep the table's order.

    Raises:
        EvaluationError: A task has two rows at one t.
    """
    columns.require_single(rows, ("task", "t"), figure=FIGURE)
    order = {task: i for i, task in enumerate(names(rows, "task"))}
    return rows.sort_values(["task", "t"], key=lambda column: column.map(order) if column.name == "task" else column)


def names(rows: pd.DataFrame, column: str) -> list[str]:
    """The different values of a column of text, in the order of the table."""
    return rows[column].drop_duplicates().tolist()


def chosen_tasks(tasks: Sequence[str], mean_of: Sequence[str] | None) -> list[str]:
    """The tasks whose mean is drawn: those named, all by default.

    Raises:
        RunError: A name that is not a task of the table, or no name.
    """
    if mean_of is None:
        return list(tasks)
    unknown = [name for name in mean_of if name not in tasks]
    if isinstance(mean_of, str) or unknown or not mean_of:
        raise RunError(
            "cannot draw the mean of these tasks",
            expected=f"a list of tasks out of {listed(tasks)}",
            got=repr(mean_of),
            remedy="pass mean_of= with names as they stand in the column task",
        )
    return [task for task in tasks if task in mean_of]


def mean_curve(rows: pd.DataFrame, tasks: Sequence[str], *, metric: Metric) -> pd.Series:
    """The unweighted mean over tasks at every t that all of them share.

    Args:
        rows: One path's rows.
        tasks: The tasks averaged.
        metric: "loss" or "score".

    Returns:
        Means indexed by t, ascending; empty where the tasks share no t.
    """
    table = rows.pivot(index="t", columns="task", values=metric)  # [T, tasks]
    return table[list(tasks)].dropna().mean(axis="columns").sort_index()


def best(curve: pd.Series, *, metric: Metric) -> tuple[float, float] | None:
    """The t of the lowest loss or the highest score, of equals the smallest, and the value there.

    None where every t serves equally well, or there is no t.
    """
    if curve.empty or curve.nunique() == 1:
        return None
    values = curve.to_numpy()
    i = int(values.argmin() if metric == "loss" else values.argmax())
    return float(curve.index.to_numpy()[i]), float(values[i])


def limits(rows: pd.DataFrame, *, metric: Metric) -> tuple[float, float]:
    """Limits of the vertical axis that hold all values and bands, and do not blow up a difference of nothing.

    The span is at least a tenth for scores and a twentieth of the largest value for losses; scores stay within
    [0, 1] and losses that are not negative above 0, but for a margin.
    """
    present = [c for c in (metric, f"{metric}_low", f"{metric}_high") if c in rows]
    values = rows[present].to_numpy()
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    least = 0.1 if metric == "score" else max(abs(low), abs(high)) / 20 or 1.0
    short = max(least - (high - low), 0) / 2
    margin = 0.06 * max(high - low, least)
    floor = 0.0 if metric == "score" or low >= 0 else -np.inf
    ceiling = 1.0 if metric == "score" else np.inf
    return max(low - short, floor) - margin, min(high + short, ceiling) + margin


def value_label(rows: pd.DataFrame, *, metric: Metric) -> str:
    """The vertical axis's words, with the unit: nats per token, or per example where each has one token."""
    if metric == "score":
        kinds = [name.replace("_", " ") for name in names(rows, "metric")]
        return kinds[0] if len(kinds) == 1 else f"score ({', '.join(kinds)})"
    single = (rows["num_tokens"].to_numpy() == rows["num_examples"].to_numpy()).all()
    return f"mean loss (nats per {'example' if single else 'scored token'})"


def headline(path: str) -> str:
    """A path's name with its arrow drawn.

    Example:
        >>> headline("after-1-stance -> after-2-tone").split()
        ['after-1-stance', '→', 'after-2-tone']
    """
    # A no-break space before the arrow: a long title breaks after it.
    return "\u00a0→ ".join(part.strip() for part in path.replace("->", "→").split("→"))


def conditions(rows: pd.DataFrame) -> str:
    """What the numbers hold for: space, split and number of examples of a task."""
    counts = rows["num_examples"].to_numpy()
    low, high = int(counts.min()), int(counts.max())
    examples = f"n = {low}" if low == high else f"n = {low} to {high}"
    return f"{names(rows, 'space')[0]} space, {names(rows, 'split')[0]} split, {examples}"


def mean_label(chosen: Sequence[str], tasks: Sequence[str]) -> str:
    """The mean line's words.

    Example:
        >>> mean_label(["a", "b"], ["a", "b", "c"])
        'mean of a and b'
        >>> mean_label(["a", "b", "c"], ["a", "b", "c"])
        'mean of all 3 tasks'
    """
    if len(chosen) == 2:
        return f"mean of {chosen[0]} and {chosen[1]}"
    every = len(chosen) == len(tasks)
    return f"mean of all {len(chosen)} tasks" if every else MIXED_MEAN
