"""Plasticity against stability: what methods learn, and what they forget."""

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from scipy import stats

from . import columns, score_rows, single_panel, style

FIGURE = "plasticity against stability"
_RUN = ("method", "adapter", "seed")
_FEWEST = 3  # seeds that an interval needs


def plot_stability(
    frame: pd.DataFrame,
    *,
    methods: Sequence[str] | None = None,
    width: float = style.COLUMN_WIDTH,
    ax: Axes | None = None,
) -> Axes:
    """One large marker a method, at its means; runs are pale dots. Up and right is better.

    Across: the score on each task right after its training, the mean of the tasks. Upwards: forgetting, its axis
    turned over. The bars are 95 % intervals of the means over runs (Student's t), drawn from three runs on.

    Args:
        frame: Columns method, adapter, seed, learning_accuracy, forgetting, as `ScoreMatrix.summary` names them; one
            row a run. A column `order` tells runs of one seed apart.
        methods: Which methods, all by default.
        width: Inches, for a new figure: `COLUMN_WIDTH` or `PAGE_WIDTH`.
        ax: Where to draw; by default a new figure that pyplot does not know.

    Returns:
        The axes drawn on.

    Raises:
        EvaluationError: The table lacks columns, rows or numbers, or says a thing twice.
        RunError: A method that is not in the table.
    """
    rows = _checked(frame)
    if methods is not None:
        chosen = [columns.pick(rows, "method", method, figure=FIGURE, remedy="") for method in methods]
        rows = pd.concat(chosen) if chosen else rows.iloc[:0]
        columns.require_columns(rows, ("method",), figure=FIGURE)
    if ax is None:
        return single_panel.on_new_figure(lambda new: _draw(new, rows), width=width, height=2.2)
    with matplotlib.rc_context({"text.parse_math": False}):
        handles = _draw(ax, rows)
        ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1))
    return ax


def _checked(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with its numbers as float64."""
    columns.require_columns(frame, (*_RUN, "learning_accuracy", "forgetting"), figure=FIGURE)
    columns.require_names(frame, _RUN, figure=FIGURE)
    columns.require_range(frame, "learning_accuracy", figure=FIGURE, keys=_RUN, low=0, high=1)
    columns.require_range(frame, "forgetting", figure=FIGURE, keys=_RUN, low=-1, high=1)
    columns.require_single(frame, [name for name in (*_RUN, "order") if name in frame.columns], figure=FIGURE)
    return frame.assign(**{name: columns.numbers(frame, name) for name in ("learning_accuracy", "forgetting")})


def _draw(ax: Axes, rows: pd.DataFrame) -> list[Line2D]:
    """Runs, means and intervals; returns the legend's handles."""
    names = score_rows.method_names(rows)
    values = rows[["learning_accuracy", "forgetting"]].to_numpy()  # [runs, 2]
    handles = []
    for name, look in style.looks(dict.fromkeys(names)).items():
        own = values[names == name]
        mean = own.mean(0)
        if len(own) > 1:
            dots = {"marker": look.marker, "markersize": 2.6, "linestyle": "none", "markeredgewidth": 0}
            ax.plot(own[:, 0], own[:, 1], color=style.pale(look.colour), zorder=1.5, **dots)
        if len(own) >= _FEWEST:
            reach = stats.t.ppf(0.975, len(own) - 1) * own.std(0, ddof=1) / np.sqrt(len(own))
            ax.errorbar(*mean, xerr=reach[0], yerr=reach[1], color=look.colour, linewidth=0.8, zorder=2)
        (mark,) = ax.plot(
            *([one] for one in mean), color=look.colour, marker=look.marker, markersize=6, linestyle="none",
            markeredgecolor="white", markeredgewidth=0.6, label=name, zorder=3,
        )  # fmt: skip
        handles.append(mark)
    ax.axhline(0, color=style.GREY, linewidth=0.6, linestyle=":", zorder=0.5)
    ax.set_xlabel("score right after training, mean of the tasks")
    ax.set_ylabel("forgetting (less is up)")
    ax.invert_yaxis()
    return handles
