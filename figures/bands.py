"""Draws the gallery's bands: the error above the chord on a line, with the band that holds all of it.

The table holds the bands of a run; its first path is drawn.
"""

import sys

import pandas as pd
from gallery_command import redraw
from matplotlib.axes import Axes

from modeconn.plotting import plot_bands

TABLES = ("bands.csv",)


def draw(bands: pd.DataFrame) -> Axes:
    """The errors above the chord on the first path."""
    return plot_bands(bands, metric="score", above="chord", path=bands["path"].iloc[0])


if __name__ == "__main__":
    sys.exit(redraw("bands", draw, tables=TABLES, description=__doc__))
