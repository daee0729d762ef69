"""Draws the gallery's CKA along a path: every layer against itself at the start.

The table is the `cka.csv` of `modeconn cka`.
"""

import sys

import pandas as pd
from gallery_command import redraw
from matplotlib.figure import Figure

from modeconn.plotting import plot_cka_along_path

TABLES = ("cka.csv",)


def draw(along: pd.DataFrame) -> Figure:
    """A panel for each task."""
    return plot_cka_along_path(along)


if __name__ == "__main__":
    sys.exit(redraw("cka_along_path", draw, tables=TABLES, description=__doc__))
