"""How a fit went: training loss, what the validations found, learning rate."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modeconn.errors import EvaluationError

from . import columns, style
from .legend import legend_below, legend_height

_FIGURE = "the history of a fit"
_HEIGHT, _RATE_HEIGHT, _LABELS = 1.75, 0.55, 0.55  # inches
_NOTED = ("worst_of", "objective")
_WINDOWS, _SHORTEST = 25, 4  # running means over a 25th of the steps, where these are not too few


def plot_fit_history(frame: pd.DataFrame, *, width: float = style.COLUMN_WIDTH) -> Figure:
    """The loss of every step and its running mean, what each validation found, and the learning rate below.

    The training loss of a step is that of one batch at random positions. A validation finds the worst of some positions
    inside the curve and the objective, by which the curve was chosen that the star marks (see `CurveFit.history`).

    Args:
        frame: Columns step, loss (nats per scored token; missing at step 0), learning_rate, worst_loss (missing between
            validations); worst_of and objective where they were noted: without an objective the worst loss chose.
        width: Inches: `COLUMN_WIDTH` or `PAGE_WIDTH`.

    Returns:
        The figure, the losses on the first of its `axes`; pyplot does not know it.

    Raises:
        EvaluationError: The table lacks columns, rows or numbers.
    """
    rows = _checked(frame)
    with style.paper_style():
        figure = style.new_figure(width, _HEIGHT + _RATE_HEIGHT + _LABELS)
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[_HEIGHT, _RATE_HEIGHT])
        _draw_losses(top, rows)
        trained = columns.rows_where(rows, rows["learning_rate"].notna().to_numpy())
        bottom.plot(trained["step"], trained["learning_rate"], color=style.GREY)
        bottom.set_ylim(bottom=0)
        bottom.set_ylabel("learning\nrate")
        bottom.set_xlabel("step")
        figure.align_ylabels([top, bottom])
        handles, _ = top.get_legend_handles_labels()
        figure.set_figheight(figure.get_figheight() + legend_height(handles, width=width))
        legend_below(figure, handles)
        style.freeze(figure)
    return figure


def _checked(frame: pd.DataFrame) -> pd.DataFrame:
    """The table by step, as float64."""
    names = ("step", "loss", "learning_rate", "worst_loss")
    columns.require_columns(frame, names, figure=_FIGURE)
    columns.require_range(frame, "step", figure=_FIGURE, keys=("step",), low=0, high=np.inf)
    columns.require_single(frame, ("step",), figure=_FIGURE)
    for name in (*names[1:], *(name for name in _NOTED if name in frame)):  # gaps are meant, infinity is not
        present = columns.rows_where(frame, frame[name].notna().to_numpy())
        columns.require_range(present, name, figure=_FIGURE, keys=("step",), low=-np.inf, high=np.inf)
    known = [*names, *(name for name in _NOTED if name in frame)]
    rows = frame.assign(**{name: columns.numbers(frame, name) for name in known}).sort_values("step")
    if not rows[["loss", "worst_loss"]].notna().to_numpy().any():
        raise EvaluationError(
            f"cannot draw {_FIGURE}: it holds no loss",
            expected="the loss of a step, or of a validation",
            got="missing values only",
            remedy="pass the history of a fit that made a step",
        )
    return rows


def _draw_losses(ax: Axes, rows: pd.DataFrame) -> None:
    """Training and validation losses."""
    train = style.looks(["training"])["training"]
    steps = columns.rows_where(rows, rows["loss"].notna().to_numpy())
    if len(steps):
        window = max(len(steps) // _WINDOWS, 1)
        smooth = window >= _SHORTEST
        every = {"color": style.pale(train.colour) if smooth else train.colour, "linewidth": 0.6 if smooth else 1.0}
        ax.plot(steps["step"], steps["loss"], **every, label="loss of a step's batch")
        if smooth:
            mean = steps["loss"].rolling(window, center=True, min_periods=1).mean()
            ax.plot(steps["step"], mean, color=train.colour, label=f"mean over {window} steps")
    known = columns.rows_where(rows, rows["worst_loss"].notna().to_numpy())
    if len(known):
        _draw_validations(ax, known)
    ax.set_ylabel("mean loss (nats)")


def _draw_validations(ax: Axes, known: pd.DataFrame) -> None:
    """The worst position and the objective of every validation, and which was the best."""
    chosen_by = "objective" if "objective" in known else "worst_loss"
    counts = sorted(known["worst_of"].dropna().astype(int).unique()) if "worst_of" in known else []
    among = f"{' to '.join(map(str, counts[:: max(len(counts) - 1, 1)]))} " if counts else ""
    words = {"worst_loss": f"worst of {among}positions, validation", "objective": "objective, validation"}
    _, *looks = style.looks(["training", *words]).values()
    for (column, label), look in zip(words.items(), looks, strict=True):
        if column in known:
            marker = {"marker": look.marker, "markersize": 3.6, "markeredgecolor": "white", "markeredgewidth": 0.4}
            ax.plot(known["step"], known[column], color=look.colour, **marker, label=label)
    best = int(known[chosen_by].to_numpy().argmin())
    place = known["step"].to_numpy()[best], known[chosen_by].to_numpy()[best]
    star = {"marker": "*", "markersize": 10, "markeredgecolor": "white", "markeredgewidth": 0.6}
    ax.plot(*([one] for one in place), color=style.INK, linestyle="none", **star, label="curve kept", clip_on=False)
