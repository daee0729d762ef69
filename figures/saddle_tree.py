"""Draws the gallery's tree of saddles: which checkpoints hang together below which loss.

The table is the `tree.csv` of `modeconn matrix`.
"""

import sys

import pandas as pd
from gallery_command import redraw
from matplotlib.figure import Figure

from modeconn.plotting import plot_saddle_tree

TABLES = ("tree.csv",)


def draw(tree: pd.DataFrame) -> Figure:
    """A tree for each task."""
    return plot_saddle_tree(tree)


if __name__ == "__main__":
    sys.exit(redraw("saddle_tree", draw, tables=TABLES, description=__doc__))
