"""Draws the gallery's interference matrix: what the updates of three tasks and of another run share.

The table is the `pairs.csv` of `modeconn geometry`.
"""

import sys

import pandas as pd
from gallery_command import redraw
from matplotlib.figure import Figure

from modeconn.plotting import plot_interference

TABLES = ("geometry_pairs.csv",)


def draw(pairs: pd.DataFrame) -> Figure:
    """Cosines, and the overlaps of what is written and of what is read."""
    return plot_interference(pairs)


if __name__ == "__main__":
    sys.exit(redraw("geometry_interference", draw, tables=TABLES, description=__doc__))
