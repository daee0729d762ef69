"""Draws the gallery's trade-off: what a line, a curve and a chain keep of one task while they gain another.

The tables are the `profile.csv` of a run on the test split and of one on the eval split. The position that is marked
on each path is the one with the best mean score on the eval split.
"""

import sys

import pandas as pd
from gallery_command import redraw
from matplotlib.axes import Axes

from modeconn.plotting import plot_trade_off

TABLES = ("paths.csv", "paths_eval.csv")


def draw(profile: pd.DataFrame, chosen_on: pd.DataFrame) -> Axes:
    """The scores of both tasks on every path."""
    return plot_trade_off(profile, metric="score", chosen=best_positions(chosen_on))


def best_positions(profile: pd.DataFrame) -> dict[str, float]:
    """For each path the t with the highest mean score over the tasks; of equals the smallest."""
    means = profile.groupby(["path", "t"], sort=True)["score"].mean()
    return {path: float(means[path].idxmax()) for path in profile["path"].drop_duplicates()}


if __name__ == "__main__":
    sys.exit(redraw("trade_off", draw, tables=TABLES, description=__doc__))
