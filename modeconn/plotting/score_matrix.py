"""A score matrix as a heat map: the score on every task after each task of a continual run."""

from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from . import columns, lettering, score_rows, style

_FIGURE = "a score matrix"
_MISSING = "#e6e6e6"


def plot_score_matrix(
    frame: pd.DataFrame,
    *,
    metric: str | None = None,
    method: str | None = None,
    adapter: str | None = None,
    seed: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Rows are tasks trained so far (0: none yet), columns are tasks scored, numbers are scores in [0, 1].

    The colour scale is always 0 to 1, so that two figures can be compared. Several seeds are averaged and the
    title says so; a cell that a seed did not measure is missing. Missing cells are grey with a dash.

    Args:
        frame: Columns method, adapter, seed, after_task, task, metric, score. The columns of the figure are the
            tasks in the order of the table.
        metric: Which metric, where a task has several.
        method: Which method, where the table holds several.
        adapter: Which kind of adapter, where the table holds several.
        seed: Which seed; by default the mean of all.
        ax: Where to draw; by default a new figure that pyplot does not know.

    Returns:
        The axes drawn on; the heat map's numbers are its texts.

    Raises:
        EvaluationError: The table lacks columns, rows or numbers, or says a thing twice.
        RunError: A choice that is not in the table, or one that is needed and not made.
    """
    rows = score_rows.checked(frame, figure=_FIGURE)
    for column, value in (("method", method), ("adapter", adapter)):
        rows = columns.pick(rows, column, value, figure=_FIGURE, remedy=f"pass {column}= with one of them")
    if seed is not None:
        rows = columns.pick(rows, "seed", seed, figure=_FIGURE, remedy="")
    rows = score_rows.with_scores(score_rows.one_metric(rows, metric, figure=_FIGURE), figure=_FIGURE)
    columns.require_single(rows, ("seed", "after_task", "task"), figure=_FIGURE)
    scores = score_table(rows)
    if ax is not None:
        with matplotlib.rc_context({"text.parse_math": False}):
            _draw(ax, scores, rows)
        return ax
    with style.paper_style():
        longest = max(lettering.text_width(name, size=lettering.text_size()) for name in scores.columns)
        width = min(style.PAGE_WIDTH, max(style.COLUMN_WIDTH, 1.3 + 0.42 * scores.shape[1]))
        figure = style.new_figure(width, 0.9 + 0.26 * len(scores) + 0.75 * longest)
        ax = figure.subplots()
        _draw(ax, scores, rows)
        style.freeze(figure)
    return ax


def score_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Scores by tasks trained and task, `[after_task, task]`, the mean over seeds; NaN where one lacks.

    Args:
        rows: Columns seed, after_task, task, score, one row for each of the first three at most.

    Returns:
        Rows in ascending order, columns in the order of the table.
    """
    seeds = rows["seed"].nunique()
    cells = rows.groupby(["after_task", "task"]).agg(mean=("score", "mean"), measured=("score", "count"))
    complete = cells["mean"].where(cells["measured"] == seeds)
    return pd.DataFrame(complete.unstack("task")).reindex(columns=rows["task"].drop_duplicates().tolist())


def _draw(ax: Axes, scores: pd.DataFrame, rows: pd.DataFrame) -> None:
    """The heat map, its labels and its title."""
    bar: Mapping[str, object] = {"label": score_rows.label(rows), "ticks": [0, 0.5, 1]}
    ax.set_facecolor(_MISSING)
    sns.heatmap(
        scores, ax=ax, vmin=0, vmax=1, cmap="Blues", annot=True, fmt=".2f", linewidths=0.8, linecolor="white",
        cbar_kws=dict(bar), mask=scores.isna(), annot_kws={"fontsize": "medium"},
    )  # fmt: skip
    for row, column in np.argwhere(scores.isna().to_numpy()):
        ax.text(column + 0.5, row + 0.5, "–", ha="center", va="center", color=style.GREY)
    ax.set_xlabel("task scored")
    ax.set_ylabel("tasks trained")
    ax.tick_params(axis="both", length=0)
    ax.set_yticklabels(ax.get_yticklabels(), rotation=0)
    ax.set_xticklabels(ax.get_xticklabels(), rotation=35, ha="right", rotation_mode="anchor")
    ax.set_title(_title(rows), loc="left")


def _title(rows: pd.DataFrame) -> str:
    """Method, adapter and seed or number of seeds."""
    seeds = rows["seed"].unique()
    which = f"seed {seeds[0]}" if len(seeds) == 1 else f"mean of {len(seeds)} seeds"
    return f"{rows['method'].iloc[0]}, {rows['adapter'].iloc[0]}, {which}"
