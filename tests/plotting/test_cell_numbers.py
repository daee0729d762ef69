"""Numbers on heat maps can be read on every colour."""

import matplotlib.colors
import numpy as np
import pandas as pd
import pytest
import seaborn as sns
from matplotlib.figure import Figure

from modeconn.plotting.cell_numbers import contrast, make_legible

BLACK, WHITE, GREY = (0.0,) * 3, (1.0,) * 3, (0.5,) * 3
LEAST = 3.85  # where a colour lies half-way between dark grey and white


def test_contrast_has_its_published_values():
    assert contrast(BLACK, WHITE) == pytest.approx(21.0)
    assert contrast(GREY, WHITE) == pytest.approx(3.98, abs=0.01)  # #808080 has 3.95
    assert contrast(WHITE, BLACK) == contrast(BLACK, WHITE)
    assert contrast(GREY, GREY) == 1.0


@pytest.mark.parametrize("cmap", ["viridis", "vlag", "RdBu_r", "Blues"])
def test_every_number_stands_out_from_its_cell(cmap):
    values = pd.DataFrame(np.linspace(0, 1, 60).reshape(12, 5))
    values.iloc[3, 2] = np.nan  # an empty cell moves no other number's ink
    ax = Figure().subplots()
    sns.heatmap(values, ax=ax, vmin=0, vmax=1, cmap=cmap, annot=True, cbar=False, mask=values.isna())
    make_legible(ax, 5)
    assert len(ax.texts) == 59
    for text in ax.texts:
        x, y = text.get_position()
        colour = matplotlib.colormaps[cmap](values.iloc[int(y), int(x)])[:3]
        assert contrast(matplotlib.colors.to_rgb(text.get_color()), colour) > LEAST


def test_numbers_below_zero_have_the_minus_sign_of_the_axes():
    ax = Figure().subplots()
    sns.heatmap(pd.DataFrame([[-0.25, 0.5]]), ax=ax, annot=True, fmt=".2f", cbar=False)
    make_legible(ax, 2)
    assert [text.get_text() for text in ax.texts] == ["\N{MINUS SIGN}0.25", "0.50"]
