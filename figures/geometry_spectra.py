"""Draws the gallery's spectra: the singular values of the updates after each task of a continual run.

The table is the `figures/spectra.csv` of `modeconn geometry`.
"""

import sys

import pandas as pd
from gallery_command import redraw
from matplotlib.axes import Axes

from modeconn.plotting import plot_spectra

TABLES = ("geometry_spectra.csv",)


def draw(spectra: pd.DataFrame) -> Axes:
    """One line a checkpoint."""
    return plot_spectra(spectra)


if __name__ == "__main__":
    sys.exit(redraw("geometry_spectra", draw, tables=TABLES, description=__doc__))
