"""Draws the gallery's forest plot: the barriers of a line, a curve and a chain between the same checkpoints.

The table is the `barriers.csv` of a run.
"""

import sys

import pandas as pd
from gallery_command import redraw
from matplotlib.figure import Figure

from modeconn.plotting import plot_barriers

TABLES = ("barriers.csv",)


def draw(barriers: pd.DataFrame) -> Figure:
    """The barriers of the error above the chord."""
    return plot_barriers(barriers, metric="score", baseline="chord")


if __name__ == "__main__":
    sys.exit(redraw("barriers", draw, tables=TABLES, description=__doc__))
