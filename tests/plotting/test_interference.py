import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from modeconn.errors import EvaluationError, RunError
from modeconn.plotting import COLUMN_WIDTH, plot_interference

COSINES = {("a", "b"): 0.5, ("a", "c"): -0.25, ("b", "c"): 0.0}


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "first": first,
            "second": second,
            "cosine": cosine,
            "column_overlap": 0.4,
            "row_overlap": 0.8,
            "first_in_second_rows": 0.1,
            "second_in_first_rows": 0.7,
        }
        for (first, second), cosine in COSINES.items()
    )


def panels(figure):
    return {ax.get_title(loc="left"): ax for ax in figure.axes if ax.get_title(loc="left")}


def cells(ax):
    """What is written, by row and column."""
    return {(int(y), int(x)): text.get_text() for text in ax.texts for x, y in [text.get_position()]}


def test_cosines_are_the_same_both_ways_and_the_diagonal_is_empty(table):
    written = cells(panels(plot_interference(table))["cosine"])
    assert written[0, 1] == written[1, 0] == "0.50"
    assert written[0, 2] == written[2, 0] == "\N{MINUS SIGN}0.25"
    assert {written[i, i] for i in range(3)} == {"–"}


def test_cosines_have_an_even_scale_and_overlaps_a_common_one(table):
    found = panels(plot_interference(table))
    assert found["cosine"].collections[0].get_clim() == (-0.5, 0.5)
    assert found["overlap of outputs"].collections[0].get_clim() == (0.0, 0.8)
    assert found["overlap of inputs"].collections[0].get_clim() == (0.0, 0.8)


def test_small_numbers_stay_pale(table):
    found = panels(plot_interference(table.assign(cosine=0.01, column_overlap=0.02, row_overlap=0.03)))
    assert found["cosine"].collections[0].get_clim() == (-0.2, 0.2)
    assert found["overlap of inputs"].collections[0].get_clim() == (0.0, 0.2)


def test_a_share_is_that_of_the_rows_update(table):
    (ax,) = panels(plot_interference(table, values=["rows_held"])).values()
    written = cells(ax)
    assert (written[0, 1], written[1, 0]) == ("0.10", "0.70")


def test_what_is_not_known_is_empty(table):
    table.loc[0, "column_overlap"] = np.nan
    written = cells(panels(plot_interference(table))["overlap of outputs"])
    assert written[0, 1] == written[1, 0] == "–"


def test_many_points_have_numbered_columns(clashes):
    names = [f"runs/seed-{number}/after-{number}-some-task" for number in range(10)]
    rows = [(a, b, 0.1, 0.2, 0.3) for i, a in enumerate(names) for b in names[i + 1 :]]
    table = pd.DataFrame(rows, columns=["first", "second", "cosine", "column_overlap", "row_overlap"])
    figure = plot_interference(table)
    (ax, *_) = panels(figure).values()
    assert [text.get_text() for text in ax.get_xticklabels()] == [str(number) for number in range(1, 11)]
    assert ax.get_yticklabels()[9].get_text().replace("\n", "").replace(" ", "") == f"{names[9]}10"
    assert clashes(figure) == []


@pytest.mark.parametrize("width", [6.9, COLUMN_WIDTH])
def test_nothing_clashes(table, width, clashes):
    assert clashes(plot_interference(table, width=width)) == []
    assert plt.get_fignums() == []


def test_bad_tables_and_settings(table):
    with pytest.raises(EvaluationError, match=r"(?s)an interference matrix: the table lacks columns.*no cosine"):
        plot_interference(table.drop(columns="cosine"))
    with pytest.raises(EvaluationError, match=r"(?s)a point beside itself.*expected: two points.*got: a"):
        plot_interference(table.assign(second=table["first"]).head(1))
    with pytest.raises(EvaluationError, match=r"(?s)one row for each first, second"):
        plot_interference(pd.concat([table, table.rename(columns={"first": "second", "second": "first"})]))
    with pytest.raises(EvaluationError, match=r"cosine=1.5 at first=a, second=b"):
        plot_interference(table.assign(cosine=[1.5, 0.0, 0.0]))
    with pytest.raises(RunError, match=r"values='norm'"):
        plot_interference(table, values=["norm"])
