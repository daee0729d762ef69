"""Draws the gallery's history of a fit: the losses and the learning rate while a curve's bend was trained.

The table is the `history.csv` of `modeconn fit`.
"""

import sys

import pandas as pd
from gallery_command import redraw
from matplotlib.figure import Figure

from modeconn.plotting import plot_fit_history

TABLES = ("history.csv",)


def draw(history: pd.DataFrame) -> Figure:
    """Losses above, the learning rate below."""
    return plot_fit_history(history)


if __name__ == "__main__":
    sys.exit(redraw("fit_history", draw, tables=TABLES, description=__doc__))
