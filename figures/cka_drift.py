"""Draws the gallery's CKA drift: how far every layer has moved after each checkpoint.

The table is the `drift.csv` of `modeconn cka`.
"""

import sys

import pandas as pd
from gallery_command import redraw
from matplotlib.figure import Figure

from modeconn.plotting import plot_cka_drift

TABLES = ("cka_drift.csv",)


def draw(drift: pd.DataFrame) -> Figure:
    """A heat map for each task."""
    return plot_cka_drift(drift)


if __name__ == "__main__":
    sys.exit(redraw("cka_drift", draw, tables=TABLES, description=__doc__))
