import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from modeconn.errors import EvaluationError, RunError
from modeconn.plotting.barrier_matrix import plot_barrier_matrix

NAMES = ["w", "x", "y", "z"]
# w and y are near each other, so are x and z; the two groups are far apart.
BARRIERS = {("w", "x"): 2.0, ("w", "y"): 0.1, ("w", "z"): 2.5, ("x", "y"): 3.0, ("x", "z"): 0.2, ("y", "z"): 2.25}


@pytest.fixture
def table():
    rows = [
        {
            "start": start,
            "end": end,
            "space": "weights",
            "task": task,
            "split": "test",
            "barrier_chord": value * scale,
            "barrier_mean": value - 0.3,
            "num_examples": 30,
        }
        for task, scale in (("old", 1.0), ("new", 0.5))
        for (start, end), value in BARRIERS.items()
    ]
    return pd.DataFrame(rows)


def panels(figure):
    return {ax.get_title(loc="left"): ax for ax in figure.axes if ax.get_title(loc="left")}


def names(ax):
    return [text.get_text() for text in ax.get_yticklabels()]


def cells(ax):
    """What is written, by the names of row and column."""
    rows, columns = names(ax), [text.get_text() for text in ax.get_xticklabels()]
    places = {(int(y), int(x)): text.get_text() for text in ax.texts for x, y in [text.get_position()]}
    return {(rows[i], columns[j]): text for (i, j), text in places.items()}


def test_cells_are_the_barriers_of_both_directions(table):
    written = cells(panels(plot_barrier_matrix(table))["old"])
    for (start, end), value in BARRIERS.items():
        assert written[start, end] == written[end, start] == f"{value:.2f}"
    assert {written[name, name] for name in NAMES} == {"0.00"}


def test_alike_checkpoints_stand_side_by_side_under_a_dendrogram(table):
    ax = panels(plot_barrier_matrix(table))["old"]
    order = names(ax)
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset("wy"), frozenset("xz")}
    above = [child for child in ax.child_axes if child.get_lines()]
    heights = sorted(max(line.get_ydata()) for line in above[0].get_lines())
    # Average linkage: 0.1, 0.2, and the mean of the four barriers between the groups.
    assert heights == pytest.approx([0.1, 0.2, (2.0 + 2.5 + 3.0 + 2.25) / 4])


def test_every_task_has_its_scale(table):
    found = panels(plot_barrier_matrix(table))
    assert found["old"].collections[0].get_clim() == (0, 3.0)
    assert found["new"].collections[0].get_clim() == (0, 1.5)


def test_the_order_can_be_kept(table):
    ax = panels(plot_barrier_matrix(table, clustered=False))["old"]
    assert names(ax) == NAMES
    assert not [child for child in ax.child_axes if child.get_lines()]


def test_pairs_not_measured_are_dashes_and_the_order_is_kept(table):
    ax = panels(plot_barrier_matrix(table[table["end"] != "z"].merge(table[table["start"] == "y"], how="outer")))["old"]
    assert cells(ax)["w", "z"] == cells(ax)["z", "w"] == "–"
    assert cells(ax)["y", "z"] == "2.25"
    assert set(names(ax)) == set(NAMES)


def test_barriers_against_the_mean_may_be_negative(table):
    ax = panels(plot_barrier_matrix(table, baseline="mean", tasks=["old"]))["old"]
    assert cells(ax)["w", "y"] == "-0.20"
    assert ax.collections[0].get_clim()[0] == pytest.approx(-0.2)


def test_without_barriers_nothing_is_red(table):
    ax = panels(plot_barrier_matrix(table.assign(barrier_chord=0.0)))["old"]
    assert ax.collections[0].get_clim() == (0, 1)
    assert np.ptp(ax.collections[0].get_array()) == 0


def test_nothing_stays_open(table):
    plot_barrier_matrix(table)
    assert plt.get_fignums() == []


def test_a_pair_in_both_directions_is_said_twice(table):
    turned = table.rename(columns={"start": "end", "end": "start"})
    with pytest.raises(EvaluationError, match=r"one row for each start, end, task"):
        plot_barrier_matrix(pd.concat([table, turned]))


def test_bad_tables_and_settings(table):
    with pytest.raises(EvaluationError, match=r"(?s)a barrier matrix: the table lacks columns.*no barrier_mean"):
        plot_barrier_matrix(table.drop(columns="barrier_mean"), baseline="mean")
    with pytest.raises(EvaluationError, match=r"(?s)from a checkpoint to itself.*two checkpoints.*got: w"):
        plot_barrier_matrix(table.assign(end=table["start"]).head(1))
    with pytest.raises(EvaluationError, match=r"barrier_chord=nan at start=w, end=x, task=old"):
        plot_barrier_matrix(table.assign(barrier_chord=table["barrier_chord"].where(table.index > 0)))
    with pytest.raises(RunError, match=r"baseline='low'"):
        plot_barrier_matrix(table, baseline="low")
    with pytest.raises(RunError, match=r"(?s)a barrier matrix of these tasks.*'old'"):
        plot_barrier_matrix(table, tasks="old")
    with pytest.raises(RunError, match=r"holds 2 values of split"):
        plot_barrier_matrix(pd.concat([table, table.assign(split="eval")]))
