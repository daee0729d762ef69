"""Draws the gallery's plane: loss and score around a curve, in the plane through its ends and its bend.

The tables are the `plane.csv` and the `points.csv` of `modeconn plane`.
"""

import sys

import pandas as pd
from gallery_command import redraw
from matplotlib.figure import Figure

from modeconn.plotting import plot_plane

TABLES = ("plane.csv", "plane_points.csv")


def draw(plane: pd.DataFrame, points: pd.DataFrame) -> Figure:
    """Contours of every task, with the curve and its points drawn in."""
    return plot_plane(plane, points)


if __name__ == "__main__":
    sys.exit(redraw("plane", draw, tables=TABLES, description=__doc__))
