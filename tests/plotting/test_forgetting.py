import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from modeconn.errors import EvaluationError, RunError
from modeconn.plotting import plot_forgetting


@pytest.fixture
def table(scores_table):
    """Two methods, two seeds, two tasks, and the losses beside the scores."""
    other = scores_table.assign(method="replay", score=scores_table["score"] + 0.05)
    return pd.concat([scores_table, other], ignore_index=True)


def lines(ax):
    """Legend name -> the line's heights, in the order of the steps."""
    return {line.get_label(): line.get_ydata() for line in ax.lines if not line.get_label().startswith("_")}


def test_each_panel_is_a_task_and_each_line_the_mean_of_a_methods_seeds(table):
    old, new = plot_forgetting(table).axes
    assert [ax.get_title(loc="left") for ax in (old, new)] == ["old", "new"]
    np.testing.assert_allclose(lines(old)["sequential"], [0.25, 0.85, 0.55])
    np.testing.assert_allclose(lines(old)["replay"], [0.30, 0.90, 0.60])


def test_what_a_seed_did_not_measure_is_a_gap(table):
    _, new = plot_forgetting(table).axes
    assert np.isnan(lines(new)["sequential"][0])
    np.testing.assert_allclose(lines(new)["sequential"][1:], [0.35, 0.75])


def test_the_band_is_the_range_of_the_seeds(table):
    old, _ = plot_forgetting(table).axes
    corners = old.collections[0].get_paths()[0].vertices
    assert {round(y, 6) for x, y in corners if x == 1} == {0.8, 0.9}


def test_one_seed_has_no_band(scores_table):
    figure = plot_forgetting(scores_table[scores_table["seed"] == 0])
    assert not any(ax.collections for ax in figure.axes)


def test_a_line_marks_the_tasks_own_training(table):
    marked = [
        [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == "--"] for ax in plot_forgetting(table).axes
    ]
    assert marked == [[1], [2]]


def test_methods_with_several_adapters_are_told_apart(table):
    figure = plot_forgetting(pd.concat([table, table.assign(adapter="dora")]))
    assert sorted(lines(figure.axes[0])) == ["replay, dora", "replay, lora", "sequential, dora", "sequential, lora"]


def test_tasks_can_be_chosen(table):
    assert [ax.get_title(loc="left") for ax in plot_forgetting(table, tasks=["new"]).axes] == ["new"]
    with pytest.raises(RunError, match=r"list of tasks out of new, old"):
        plot_forgetting(table, tasks=["none"])


def test_runs_in_different_orders_are_refused(table):
    turned = table[table["seed"] == 1].sort_values("task")
    with pytest.raises(EvaluationError, match=r"(?s)different orders.*got: old, new and new, old"):
        plot_forgetting(pd.concat([table[table["seed"] == 0], turned]))


def test_a_score_that_is_none_is_refused(table):
    table.loc[0, "score"] = 1.5
    with pytest.raises(EvaluationError, match=r"(?s)forgetting curves: 1 of 22 values of score.*score=1.5 at task=old"):
        plot_forgetting(table)


def test_no_text_leaves_the_figure_or_lies_on_another(table, clashes):
    assert clashes(plot_forgetting(table)) == []
    assert plt.get_fignums() == []
