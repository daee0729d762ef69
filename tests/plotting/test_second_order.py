import numpy as np
import pandas as pd
import pytest

from modeconn.errors import EvaluationError
from modeconn.plotting import COLUMN_WIDTH
from modeconn.plotting.second_order import plot_curvature, plot_second_order


@pytest.fixture
def table():
    rows = [
        {
            "point": point, "task": task, "split": "test", "loss": 1.0, "trace": trace, "trace_error": 0.5, "top": 3.0,
            "top_error": 0.1, "bottom": -2.0, "bottom_error": 0.1, "sharpness": 7.0,
        }
        for point in ("after-1", "after-2")
        for task, trace in (("old", 5.0), ("new", -4.0))
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def along():
    t = np.linspace(0, 1, 5)
    rows = {"path": "a -> b", "space": "weights", "split": "test", "t": t, "loss": t**2}
    curved = np.array([np.nan, 2.0, 2.0, 2.0, np.nan])
    return pd.concat([pd.DataFrame({**rows, "task": task, "curvature": curved}) for task in ("old", "new")])


def test_a_panel_for_every_measure(table):
    titles = [ax.get_title(loc="left") for ax in plot_second_order(table).axes]
    assert titles == ["trace", "largest and smallest\neigenvalue", "sharpness"]
    few = plot_second_order(table.assign(trace=np.nan, trace_error=np.nan, sharpness=np.nan))
    assert len(few.axes) == 1


def test_values_and_errors_are_those_of_the_table(table):
    ax = plot_second_order(table).axes[0]
    drawn = [container[0].get_ydata().tolist() for container in ax.containers]
    assert drawn == [[5.0, 5.0], [-4.0, -4.0]]
    bars = ax.containers[1][2][0].get_segments()
    assert sorted(bars[0][:, 1].tolist()) == [-4.5, -3.5]


def test_the_second_derivative_stands_below_the_loss(along):
    upper, lower = plot_curvature(along).axes
    assert upper.get_lines()[0].get_ydata().tolist() == [0.0, 0.0625, 0.25, 0.5625, 1.0]
    assert lower.get_lines()[0].get_ydata().tolist() == [2.0, 2.0, 2.0]
    assert upper.get_title(loc="left") == "a\N{NO-BREAK SPACE}→ b, space=weights, test split"


@pytest.mark.parametrize("width", [6.9, COLUMN_WIDTH])
def test_nothing_clashes(table, along, width, clashes):
    assert clashes(plot_curvature(along, width=width)) == []
    if width > COLUMN_WIDTH:  # three scales do not stand side by side in a column
        assert clashes(plot_second_order(table, width=width)) == []


def test_bad_tables(table, along):
    with pytest.raises(EvaluationError, match=r"(?s)curvature at points: the table lacks columns.*no trace"):
        plot_second_order(table.drop(columns="trace"))
    with pytest.raises(EvaluationError, match=r"(?s)no measure has a value.*expected: numbers in one of"):
        plot_second_order(table.assign(trace=np.nan, top=np.nan, sharpness=np.nan))
    with pytest.raises(EvaluationError, match="rows say the same thing twice"):
        plot_second_order(pd.concat([table, table]))
    with pytest.raises(EvaluationError, match=r"top=inf at point=after-1, task=old"):
        plot_second_order(table.assign(top=[np.inf, 3.0, 3.0, 3.0]))
    with pytest.raises(EvaluationError, match=r"loss=nan at task=old, t=0.0"):
        plot_curvature(along.assign(loss=np.nan))
