"""Draws the gallery's score matrix: the accuracy on every task after each task of one run.

The table is the `scores.csv` of `modeconn train`.
"""

import sys

import pandas as pd
from gallery_command import redraw
from matplotlib.axes import Axes

from modeconn.plotting import plot_score_matrix

TABLES = ("scores.csv",)


def draw(scores: pd.DataFrame) -> Axes:
    """The matrix of the accuracies."""
    return plot_score_matrix(scores, metric="accuracy")


if __name__ == "__main__":
    sys.exit(redraw("score_matrix", draw, tables=TABLES, description=__doc__))
