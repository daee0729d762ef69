"""Draws the gallery's surface: loss and score around one checkpoint, in two random directions.

The tables are the `plane.csv` and the `points.csv` of `modeconn plane --around`.
"""

import sys

import pandas as pd
from gallery_command import redraw
from matplotlib.figure import Figure

from modeconn.plotting import plot_plane

TABLES = ("surface.csv", "surface_points.csv")


def draw(surface: pd.DataFrame, points: pd.DataFrame) -> Figure:
    """Contours of every task, with the checkpoint in the middle."""
    return plot_plane(surface, points)


if __name__ == "__main__":
    sys.exit(redraw("surface", draw, tables=TABLES, description=__doc__))
