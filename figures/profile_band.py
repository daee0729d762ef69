"""Draws the gallery's profile with bands: the scores on a line, their intervals and their simultaneous bands.

The tables are the `profile.csv` of a run and the bands of the same run; its first path is drawn.
"""

import sys

import pandas as pd
from gallery_command import redraw
from matplotlib.axes import Axes

from modeconn.plotting import plot_profile

TABLES = ("paths.csv", "bands.csv")


def draw(profile: pd.DataFrame, bands: pd.DataFrame) -> Axes:
    """The scores on the first path."""
    return plot_profile(profile, metric="score", path=profile["path"].iloc[0], bands=bands)


if __name__ == "__main__":
    sys.exit(redraw("profile_band", draw, tables=TABLES, description=__doc__))
