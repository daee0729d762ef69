"""The forest plot of barriers."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from modeconn.errors import EvaluationError, RunError
from modeconn.plotting import COLUMN_WIDTH, PAGE_WIDTH, plot_barriers
from modeconn.plotting.forest_lines import in_columns, lines_of


@pytest.fixture
def table():
    """A line with two tasks and a curve with one; the last has too few examples for an interval."""
    rows = [
        ("line", "old", 0.4, 0.2, 0.6, 0.35, 0.0004, 90.0),
        ("line", "new", 0.1, 0.0, 0.3, 0.05, 0.0345, 3.0),
        ("curve", "old", 0.0, np.nan, np.nan, np.nan, np.nan, np.nan),
    ]
    columns = ["path", "task", "barrier", "low", "high", "estimate_corrected", "p_holm", "num_effective"]
    names = {"space": "weights", "metric": "loss", "baseline": "chord", "num_examples": 100}
    return pd.DataFrame(rows, columns=columns).assign(**names)


def texts(ax):
    return [text.get_text() for text in ax.texts]


def lines(ax, **wanted):
    return [line for line in ax.get_lines() if all(getattr(line, f"get_{k}")() == v for k, v in wanted.items())]


def test_points_intervals_and_corrected_estimates(table):
    (ax,) = plot_barriers(table).axes
    assert [line.get_xdata()[0] for line in lines(ax, markersize=4.6)] == [0.4, 0.1, 0.0]
    assert [list(line.get_xdata()) for line in lines(ax, linewidth=1.3)] == [[0.2, 0.6], [0.0, 0.3]]
    assert [line.get_xdata()[0] for line in lines(ax, marker="|")] == [0.35, 0.05]


def test_a_row_has_its_signs_at_one_height_and_rows_go_down(table):
    (ax,) = plot_barriers(table).axes
    heights = [line.get_ydata()[0] for line in lines(ax, markersize=4.6)]
    assert heights == sorted(heights)
    assert ax.yaxis_inverted()
    assert [line.get_ydata()[0] for line in lines(ax, marker="|")] == heights[:2]
    assert list(ax.get_yticks()) == heights


def test_headings_labels_and_p_values(table):
    (ax,) = plot_barriers(table).axes
    assert texts(ax) == ["line", "< 0.001", "0.035", "curve", "–", "p (Holm)"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["old", "new", "old"]
    assert ax.get_xlabel() == "loss barrier (nats)"


def labels(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_legend_says_the_confidence_of_the_intervals(table):
    assert "95 % interval" in labels(plot_barriers(table))
    found = labels(plot_barriers(table.assign(confidence=0.8)))
    assert {"80 % interval", "80 % interval that rests on few examples"} <= set(found)
    assert "interval" in labels(plot_barriers(table.assign(confidence=[0.8, 0.9, 0.9])))


def test_an_interval_on_few_examples_is_broken(table):
    (ax,) = plot_barriers(table).axes
    assert [line.is_dashed() for line in lines(ax, linewidth=1.3)] == [False, True]
    (ax,) = plot_barriers(table, few_effective=1).axes
    assert [line.is_dashed() for line in lines(ax, linewidth=1.3)] == [False, False]


def test_the_legend_names_what_is_drawn_only(table):
    def labels(rows):
        (legend,) = plot_barriers(rows).legends
        return [text.get_text() for text in legend.get_texts()]

    every = ["barrier", "without the bias of a maximum", "95 % interval", "95 % interval that rests on few examples"]
    assert labels(table) == every
    assert labels(table.iloc[:1]) == every[:3]
    assert labels(table.iloc[2:]) == every[:1]


def test_zero_is_in_sight(table):
    (ax,) = plot_barriers(table.iloc[:1]).axes
    low, high = ax.get_xlim()
    assert low < 0
    assert high > 0.6
    assert lines(ax, linestyle=":")[0].get_xdata() == [0, 0]


def test_a_barrier_of_nothing_is_not_blown_up(table):
    (ax,) = plot_barriers(table.iloc[2:]).axes
    assert ax.get_xlim()[1] >= 0.01


def test_a_task_keeps_its_look_when_others_are_left_out(table):
    (ax,) = plot_barriers(table).axes
    (chosen,) = plot_barriers(table, tasks=["new"]).axes
    assert lines(ax, markersize=4.6)[1].get_color() == lines(chosen, markersize=4.6)[0].get_color()


def test_paths_label_the_lines_where_each_has_the_one_task(table):
    one = table[table["task"] == "old"]
    figure = plot_barriers(one)
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.get_yticklabels()] == ["line", "curve"]
    assert "old, n = 100" in figure.get_suptitle()


def test_metric_and_baseline_are_chosen(table):
    both = pd.concat([table, table.assign(metric="score"), table.assign(baseline="mean")])
    figure = plot_barriers(both, metric="score")
    assert figure.axes[0].get_xlabel() == "barrier of the error"
    assert figure.get_suptitle().startswith("barriers above the chord")
    assert plot_barriers(both, metric="loss", baseline="mean").get_suptitle().startswith("barriers above the mean")
    with pytest.raises(RunError, match=r"holds 2 values of metric\n.*\n.*loss, score\n.*pass metric="):
        plot_barriers(both)


def test_spaces_are_told_apart(table):
    (ax,) = plot_barriers(pd.concat([table, table.assign(space="factors")])).axes
    assert [text for text in texts(ax) if "line" in text] == ["line (weights)", "line (factors)"]


def test_long_tables_stand_in_two_columns_where_there_is_room(table):
    rows = pd.concat([table.assign(path=table["path"] + f" {i}") for i in range(20)])
    assert len(plot_barriers(rows, width=PAGE_WIDTH).axes) == 2
    assert len(plot_barriers(rows, width=COLUMN_WIDTH).axes) == 1
    assert len(plot_barriers(table, width=PAGE_WIDTH).axes) == 1


def test_every_row_stands_in_one_column_and_no_path_is_torn(table):
    rows = pd.concat([table.assign(path=table["path"] + f" {i}") for i in range(7)]).reset_index(drop=True)
    blocks = lines_of(rows, width=3, label_width=1)
    columns = in_columns(blocks, most=10, count=3)
    assert sorted(line.row for column in columns for line in column if line.row is not None) == list(range(len(rows)))
    assert all(column[0].row is None for column in columns)
    assert [line for column in columns for line in column] == [line for block in blocks for line in block]


def test_nothing_stays_open(table):
    plot_barriers(table)
    assert plt.get_fignums() == []


def test_bad_tables(table):
    with pytest.raises(
        EvaluationError, match=r"a forest plot of barriers: the table lacks columns\n(.*\n)*.*no p_holm"
    ):
        plot_barriers(table.drop(columns="p_holm"))
    with pytest.raises(EvaluationError, match=r"barrier=nan at path=line, task=old, metric=loss, baseline=chord"):
        plot_barriers(table.assign(barrier=[np.nan, 0.1, 0.2]))
    with pytest.raises(EvaluationError, match=r"high=inf at path=line, task=new"):
        plot_barriers(table.assign(high=[0.6, np.inf, np.nan]))
    with pytest.raises(EvaluationError, match=r"numbers from 0 to 1\n.*p_holm=1.5"):
        plot_barriers(table.assign(p_holm=[1.5, 0.1, np.nan]))
    with pytest.raises(EvaluationError, match="rows say the same thing twice"):
        plot_barriers(pd.concat([table, table]))
    with pytest.raises(RunError, match=r"a forest plot of barriers of these tasks\n.*new, old\n.*\['x'\]"):
        plot_barriers(table, tasks=["x"])
    with pytest.raises(RunError, match="no row has baseline='mean'"):
        plot_barriers(table, baseline="mean")
