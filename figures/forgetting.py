"""Draws the gallery's forgetting curves: the accuracy on every task while the others are learnt, by two methods.

The table is the `scores.csv` of the comparison that `modeconn demo` makes: those of its runs, one after the other.
"""

import sys

import pandas as pd
from gallery_command import redraw
from matplotlib.figure import Figure

from modeconn.plotting import plot_forgetting

TABLES = ("methods.csv",)


def draw(scores: pd.DataFrame) -> Figure:
    """The curves of the accuracies."""
    return plot_forgetting(scores, metric="accuracy")


if __name__ == "__main__":
    sys.exit(redraw("forgetting", draw, tables=TABLES, description=__doc__))
