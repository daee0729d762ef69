"""Draws the gallery's layer profile: how large the updates are in every layer, relative to the base's weights.

The table is the `geometry.csv` of `modeconn geometry`.
"""

import sys

import pandas as pd
from gallery_command import redraw
from matplotlib.figure import Figure

from modeconn.plotting import plot_layer_profile

TABLES = ("geometry.csv",)


def draw(geometry: pd.DataFrame) -> Figure:
    """A panel for each kind of module."""
    return plot_layer_profile(geometry)


if __name__ == "__main__":
    sys.exit(redraw("geometry_layers", draw, tables=TABLES, description=__doc__))
