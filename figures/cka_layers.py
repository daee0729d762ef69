"""Draws the gallery's layer-by-layer CKA: every layer of one checkpoint against every layer of another.

The table is the `layers.csv` of `modeconn cka`.
"""

import sys

import pandas as pd
from gallery_command import redraw
from matplotlib.figure import Figure

from modeconn.plotting import plot_cka_layers

TABLES = ("cka_layers.csv",)


def draw(layers: pd.DataFrame) -> Figure:
    """A heat map for each task."""
    return plot_cka_layers(layers)


if __name__ == "__main__":
    sys.exit(redraw("cka_layers", draw, tables=TABLES, description=__doc__))
