import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from modeconn.errors import EvaluationError, RunError
from modeconn.plotting import PAGE_WIDTH, plot_spectra


@pytest.fixture
def table():
    """Two points; the first one's matrices have 3, 3 and 1 directions."""
    values = {("a", "p"): [8.0, 4.0, 2.0], ("a", "q"): [6.0, 3.0, 1.0], ("a", "r"): [1.0], ("b", "p"): [5.0, 0.5]}
    rows = [(*key, number, value) for key, one in values.items() for number, value in enumerate(one, 1)]
    return pd.DataFrame(rows, columns=["point", "parameter", "index", "value"])


def test_lines_are_medians_over_the_matrices_with_so_many_directions(table):
    ax = plot_spectra(table)
    found = {line.get_label(): line for line in ax.get_lines()}
    assert found["a"].get_ydata().tolist() == [6.0, 3.5, 1.5]
    assert found["a"].get_xdata().tolist() == [1, 2, 3]
    assert found["b"].get_ydata().tolist() == [5.0, 0.5]


def test_bands_are_percentiles(table):
    band = plot_spectra(table).collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(np.percentile([2.0, 1.0], 10))
    assert band[:, 1].max() == pytest.approx(np.percentile([8.0, 6.0, 1.0], 90))


def test_ticks_are_plain_numbers(table):
    ax = plot_spectra(table)
    ax.figure.draw_without_rendering()
    written = {text.get_text() for text in ax.get_yticklabels()}
    assert {"1", "2", "5"} <= written
    assert not any("$" in text for text in written)


@pytest.mark.parametrize(("size", "scale"), [(40, "linear"), (41, "log")])
def test_many_directions_have_a_logarithmic_axis(size, scale):
    rows = {"point": "a", "parameter": "p", "index": np.arange(1, size + 1), "value": np.linspace(2, 1, size)}
    assert plot_spectra(pd.DataFrame(rows)).get_xscale() == scale


def test_one_matrix_has_no_band(table):
    (figure_legend,) = plot_spectra(table, points=["b"]).figure.legends
    assert [text.get_text() for text in figure_legend.get_texts()] == ["b"]


def test_it_draws_on_axes_that_are_given(table):
    figure, ax = plt.subplots()
    assert plot_spectra(table, ax=ax) is ax
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b", "middle 80 % of the matrices"]
    plt.close(figure)


def test_nothing_clashes(table, clashes):
    assert clashes(plot_spectra(table).figure) == []
    assert clashes(plot_spectra(table, width=PAGE_WIDTH).figure) == []


def test_bad_tables_and_settings(table):
    with pytest.raises(EvaluationError, match=r"(?s)singular spectra: the table lacks columns.*no value"):
        plot_spectra(table.drop(columns="value"))
    with pytest.raises(EvaluationError, match=r"value=0.0 at point=a, parameter=p, index=1"):
        plot_spectra(table.assign(value=0.0))
    with pytest.raises(EvaluationError, match=r"one row for each point, parameter, index"):
        plot_spectra(pd.concat([table, table]))
    expected = (
        r"(?s)singular spectra of these points.*column point: a list of points out of a, b\n.*got: \['c'\].*remedy"
    )
    with pytest.raises(RunError, match=expected):
        plot_spectra(table, points=["c"])
