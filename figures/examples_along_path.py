"""Draws the gallery's examples along a path: which ones the line to the next checkpoint loses, and which it wins.

The table holds per-example records of one path: the columns path, task, t, example and score of `examples.parquet`.
"""

import sys

import pandas as pd
from gallery_command import redraw
from matplotlib.figure import Figure

from modeconn.plotting import plot_examples_along_path

TABLES = ("examples.csv",)


def draw(examples: pd.DataFrame) -> Figure:
    """Shares and rows of every task."""
    return plot_examples_along_path(examples)


if __name__ == "__main__":
    sys.exit(redraw("examples_along_path", draw, tables=TABLES, description=__doc__))
