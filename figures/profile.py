"""Draws the gallery's profile: loss and score of every task between consecutive checkpoints of one run.

The table is the `profile.csv` of `modeconn demo`: its tasks stand in the order in which they were trained, and
its paths lead from each checkpoint to the next.
"""

import sys

import pandas as pd
from gallery_command import redraw
from matplotlib.figure import Figure

from modeconn.plotting import plot_profiles

TABLES = ("profile.csv",)


def draw(profile: pd.DataFrame) -> Figure:
    """A column of panels for each path."""
    return plot_profiles(profile, metric=("loss", "score"), mean_of=old_and_new(profile))


def old_and_new(profile: pd.DataFrame) -> dict[str, list[str]]:
    """For each path the task trained just before it and the one that its end was trained on."""
    tasks = profile["task"].drop_duplicates().tolist()
    return {path: tasks[i : i + 2] for i, path in enumerate(profile["path"].drop_duplicates())}


if __name__ == "__main__":
    sys.exit(redraw("profile", draw, tables=TABLES, description=__doc__))
