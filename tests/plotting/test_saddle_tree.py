import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from modeconn.errors import EvaluationError, RunError
from modeconn.plotting.saddle_tree import plot_saddle_tree


@pytest.fixture
def table():
    """Of `old`: c and a join at 1, both with d at 2, all with b at 4."""
    rows = [
        ("old", "a", "c", 1.0, 0.5, 0.2),
        ("old", "c", "d", 2.0, 0.2, 1.5),
        ("old", "d", "b", 4.0, 1.5, 3.0),
        ("new", "a", "b", 7.0, 6.0, 6.5),
    ]
    return pd.DataFrame(rows, columns=["task", "start", "end", "saddle", "loss_start", "loss_end"])


def panels(figure):
    return {ax.get_title(loc="left"): ax for ax in figure.axes}


def branches(ax):
    return [line.get_xydata() for line in ax.get_lines() if len(line.get_xydata()) == 4 and line.get_marker() == "None"]


def test_leaves_end_at_the_checkpoints_losses(table):
    ax = panels(plot_saddle_tree(table))["old"]
    order = [text.get_text() for text in ax.get_xticklabels()]
    (leaves,) = [line for line in ax.get_lines() if line.get_marker() == "o"]
    assert dict(zip(order, leaves.get_ydata(), strict=True)) == {"a": 0.5, "b": 3.0, "c": 0.2, "d": 1.5}


def test_branches_join_at_the_saddles(table):
    ax = panels(plot_saddle_tree(table))["old"]
    assert [found[1, 1] for found in branches(ax)] == [1, 2, 4]
    assert sorted(text.get_text() for text in ax.texts) == ["1.00", "2.00", "4.00"]


def test_a_branch_goes_on_from_the_middle_of_the_one_below(table):
    first, second, third = branches(panels(plot_saddle_tree(table))["old"])
    for below, above in ((first, second), (second, third)):
        middle = [(below[1, 0] + below[2, 0]) / 2, below[1, 1]]
        assert any(np.array_equal(end, middle) for end in (above[0], above[3]))


def test_the_order_of_the_edges_does_not_matter(table):
    turned = panels(plot_saddle_tree(table.iloc[::-1]))["old"]
    assert [found[1, 1] for found in branches(turned)] == [1, 2, 4]


def test_every_task_has_its_tree(table):
    found = panels(plot_saddle_tree(table))
    assert len(branches(found["new"])) == 1
    assert list(panels(plot_saddle_tree(table, tasks=["new"]))) == ["new"]


def test_many_saddles_are_not_written(table):
    del table
    chain = [("t", f"p{i}", f"p{i + 1}", 1.0 + i, 0.5, 0.5) for i in range(14)]
    frame = pd.DataFrame(chain, columns=["task", "start", "end", "saddle", "loss_start", "loss_end"])
    (ax,) = plot_saddle_tree(frame).axes
    assert len(branches(ax)) == 14
    assert not ax.texts


def test_nothing_stays_open(table):
    plot_saddle_tree(table)
    assert plt.get_fignums() == []


def test_a_ring_and_two_parts_are_no_tree(table):
    ring = pd.concat([table, pd.DataFrame([("old", "a", "d", 9.0, 0.5, 1.5)], columns=table.columns)])
    with pytest.raises(EvaluationError, match=r"(?s)edges of old are no tree.*got: 4 edges between a, b, c, d"):
        plot_saddle_tree(ring)
    with pytest.raises(EvaluationError, match=r"(?s)are no tree.*got: 2 edges between a, b, c, d.*remedy"):
        plot_saddle_tree(table.drop(index=1))


def test_bad_tables_and_settings(table):
    with pytest.raises(EvaluationError, match=r"(?s)a saddle tree: the table lacks columns.*no saddle"):
        plot_saddle_tree(table.drop(columns="saddle"))
    with pytest.raises(EvaluationError, match=r"saddle=inf at task=old, start=a, end=c"):
        plot_saddle_tree(table.assign(saddle=table["saddle"].where(table.index > 0, np.inf)))
    with pytest.raises(RunError, match=r"(?s)a saddle tree of these tasks.*\['x'\]"):
        plot_saddle_tree(table, tasks=["x"])
