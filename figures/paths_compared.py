"""Draws the gallery's comparison of paths: the mean loss on a line, a curve and a chain between the same checkpoints.

The table is the `profile.csv` of a run with several paths.
"""

import sys

import pandas as pd
from gallery_command import redraw
from matplotlib.axes import Axes

from modeconn.plotting import plot_paths_compared

TABLES = ("paths.csv",)


def draw(profile: pd.DataFrame) -> Axes:
    """The mean loss over the tasks on every path."""
    return plot_paths_compared(profile, metric="loss")


if __name__ == "__main__":
    sys.exit(redraw("paths_compared", draw, tables=TABLES, description=__doc__))
