"""Draws the gallery's barrier matrix: the barriers on the lines between all pairs of checkpoints.

The table is the `pairs.csv` of `modeconn matrix`.
"""

import sys

import pandas as pd
from gallery_command import redraw
from matplotlib.figure import Figure

from modeconn.plotting import plot_barrier_matrix

TABLES = ("pairs.csv",)


def draw(pairs: pd.DataFrame) -> Figure:
    """A heat map for each task."""
    return plot_barrier_matrix(pairs)


if __name__ == "__main__":
    sys.exit(redraw("barrier_matrix", draw, tables=TABLES, description=__doc__))
