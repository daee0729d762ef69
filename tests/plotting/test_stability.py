import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import stats

from modeconn.errors import EvaluationError, RunError
from modeconn.plotting import plot_stability


@pytest.fixture
def table():
    """Two methods with three runs each."""
    learnt = {"sequential": [0.8, 0.82, 0.87], "ilora": [0.7, 0.71, 0.72]}
    lost = {"sequential": [0.3, 0.4, 0.35], "ilora": [0.02, -0.01, 0.05]}
    rows = [
        {"method": name, "adapter": "lora", "seed": seed, "learning_accuracy": value, "forgetting": lost[name][seed]}
        for name, values in learnt.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def marks(ax):
    """Legend name -> its marker's place."""
    named = [line for line in ax.lines if not line.get_label().startswith("_")]
    return {line.get_label(): (line.get_xdata()[0], line.get_ydata()[0]) for line in named}


def test_a_mark_stands_at_a_methods_means(table):
    found = marks(plot_stability(table))
    assert found["sequential"] == pytest.approx((0.83, 0.35))
    assert found["ilora"] == pytest.approx((0.71, 0.02))


def test_the_bars_are_students_intervals(table):
    ax = plot_stability(table)
    across = ax.collections[0].get_segments()[0][:, 0]
    values = table.loc[table["method"] == "sequential", "learning_accuracy"]
    np.testing.assert_allclose(sorted(across), stats.t.interval(0.95, 2, values.mean(), stats.sem(values)))


def test_two_runs_have_no_bars(table):
    assert not plot_stability(table[table["seed"] < 2]).collections


def test_less_forgetting_is_up(table):
    low, high = plot_stability(table).get_ylim()
    assert low > high


def test_methods_can_be_chosen(table):
    assert list(marks(plot_stability(table, methods=["ilora"]))) == ["ilora"]
    with pytest.raises(RunError, match=r"no row has method='ewc'"):
        plot_stability(table, methods=["ewc"])


def test_two_orders_of_one_seed_are_two_runs(table):
    both = pd.concat([table.assign(order="a"), table.assign(order="b")])
    assert marks(plot_stability(both)).keys() == {"sequential", "ilora"}
    with pytest.raises(EvaluationError, match="rows say the same thing twice"):
        plot_stability(both.drop(columns="order"))


def test_a_missing_number_is_refused(table):
    table.loc[0, "forgetting"] = np.nan
    with pytest.raises(EvaluationError, match=r"values of forgetting cannot be drawn"):
        plot_stability(table)


def test_it_draws_on_the_axes_given(table):
    ax = Figure(layout="constrained").subplots()
    assert plot_stability(table, ax=ax) is ax


def test_no_text_leaves_the_figure_or_lies_on_another(table, clashes):
    assert clashes(plot_stability(table).figure) == []
