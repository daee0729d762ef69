"""Draws the gallery's plasticity against stability: what methods learn of eight tasks, and how much they forget.

The table is that of `analysis/ilora/summary.py`: one row a run.
"""

import sys

import pandas as pd
from gallery_command import redraw
from matplotlib.axes import Axes

from modeconn.plotting import plot_stability

TABLES = ("stability.csv",)


def draw(runs: pd.DataFrame) -> Axes:
    """One marker a method with its intervals, one small one a run."""
    return plot_stability(runs)


if __name__ == "__main__":
    sys.exit(redraw("stability", draw, tables=TABLES, description=__doc__))
