import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.figure import Figure

from modeconn.errors import EvaluationError, RunError
from modeconn.plotting import plot_score_matrix


def cells(ax):
    """The written cells as `{(row, column): text}`."""
    return {(int(y), int(x)): text.get_text() for text in ax.texts for x, y in [text.get_position()]}


def test_rows_are_tasks_trained_and_columns_tasks_in_order(scores_table):
    ax = plot_score_matrix(scores_table, seed=0)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "1", "2"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["old", "new"]
    top, bottom = sorted(ax.get_ylim(), reverse=True)
    assert ax.get_ylim() == (top, bottom)  # row 0 is drawn on top


def test_the_cells_are_the_tables_scores(scores_table):
    written = cells(plot_score_matrix(scores_table, seed=0))
    expected = {(0, 0): "0.20", (0, 1): "0.10", (1, 0): "0.80", (1, 1): "0.30", (2, 0): "0.50", (2, 1): "0.70"}
    assert written == expected


def test_seeds_are_averaged_and_a_gap_stays_a_gap(scores_table):
    ax = plot_score_matrix(scores_table)
    written = cells(ax)
    assert written[1, 0] == "0.85"
    assert written[0, 1] == "–"
    assert ax.get_title(loc="left") == "sequential, lora, mean of 2 seeds"


def test_a_row_without_score_is_a_gap(scores_table):
    table = scores_table[scores_table["seed"] == 0].copy()
    table.loc[(table["after_task"] == 1) & (table["task"] == "new"), "score"] = None
    assert cells(plot_score_matrix(table))[1, 1] == "–"


def test_the_colour_scale_is_always_0_to_1(scores_table):
    assert plot_score_matrix(scores_table).collections[0].get_clim() == (0, 1)


def test_it_draws_on_the_axes_given(scores_table):
    ax = Figure(layout="constrained").subplots()
    assert plot_score_matrix(scores_table, ax=ax) is ax
    assert ax.collections


def test_nothing_stays_open(scores_table):
    plot_score_matrix(scores_table)
    assert plt.get_fignums() == []


@pytest.mark.parametrize("column", ["method", "adapter"])
def test_several_methods_or_adapters_need_a_choice(scores_table, column):
    other = scores_table.assign(**{column: "other"})
    with pytest.raises(RunError, match=rf"holds 2 values of {column}\n.*one {column}\n.*other.*\n.*pass {column}="):
        plot_score_matrix(scores_table.merge(other, how="outer"))


def test_several_metrics_of_a_task_need_a_choice(scores_table):
    both = scores_table.merge(scores_table.assign(metric="exact_match"), how="outer")
    with pytest.raises(RunError, match=r"a task has several metrics\n.*\n.*accuracy, exact_match"):
        plot_score_matrix(both)
    assert plot_score_matrix(both, metric="accuracy").texts


def test_scores_above_1_are_refused(scores_table):
    with pytest.raises(EvaluationError, match=r"score=80.0 at task=old, after_task=0"):
        plot_score_matrix(scores_table.assign(score=80.0))


def test_a_cell_that_stands_twice(scores_table):
    with pytest.raises(EvaluationError, match=r"one row for each seed, after_task, task"):
        plot_score_matrix(scores_table.assign(seed=0))


def test_a_seed_that_is_not_there(scores_table):
    with pytest.raises(RunError, match=r"no row has seed=7\n.*one of 0, 1"):
        plot_score_matrix(scores_table, seed=7)


def test_missing_columns_are_listed(scores_table):
    with pytest.raises(EvaluationError, match=r"a score matrix: the table lacks columns(.*\n)*.*no after_task, seed"):
        plot_score_matrix(scores_table.drop(columns=["seed", "after_task"]))


def test_the_losses_in_a_runs_table_are_left_aside(scores_table):
    losses = scores_table.assign(metric="loss", score=scores_table["score"] + 4)
    both = pd.concat([scores_table, losses])
    drawn = [text.get_text() for text in plot_score_matrix(both, metric="accuracy").texts]
    assert drawn == [text.get_text() for text in plot_score_matrix(scores_table).texts]
    with pytest.raises(EvaluationError, match="numbers from 0 to 1"):
        plot_score_matrix(both, metric="loss")
