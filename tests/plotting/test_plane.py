import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from modeconn.errors import EvaluationError, RunError
from modeconn.plotting.plane import plot_plane


def landscape(x, y):
    return (x - 1) ** 2 + 2 * y**2 + 0.5


@pytest.fixture
def table():
    """Two tasks on a grid of five by four; the loss of `new` is ten times that of `old`."""
    grid = itertools.product(("old", "new"), np.linspace(-1, 3, 5), np.linspace(0, 3, 4))
    rows = [
        {
            "surface": "plane through a, b, c",
            "unit": "L2 distance",
            "space": "weights",
            "task": task,
            "split": "test",
            "x": x,
            "y": y,
            "loss": landscape(x, y) * (10 if task == "new" else 1),
            "score": 0.5 + 0.1 * x,
            "metric": "exact_match",
            "num_examples": 40,
            "num_tokens": 90,
        }
        for task, x, y in grid
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def points():
    """Two points in the plane, one off it, and a path."""
    columns = ["name", "role", "t", "x", "y", "distance"]
    rows = [
        ("a", "point", None, 0.0, 0.0, 0.0),
        ("b", "point", None, 2.0, 0.0, 1e-9),
        ("far", "other", None, 1.0, 1.0, 0.75),
        *(("a -> b", "path", t, 2 * t, t * (1 - t), t * (1 - t)) for t in (0.0, 0.5, 1.0)),
    ]
    return pd.DataFrame(rows, columns=columns)


def panels(figure):
    return [ax for ax in figure.axes if ax.get_title(loc="left")]


def lines(ax):
    return [line.get_xydata().tolist() for line in ax.get_lines()]


def test_a_column_for_each_task_and_a_row_for_each_metric(table):
    figure = plot_plane(table)
    assert [ax.get_title(loc="left") for ax in panels(figure)] == ["old", "new", "old", "new"]
    assert panels(figure)[0].get_subplotspec().rowspan == panels(figure)[1].get_subplotspec().rowspan
    assert panels(figure)[2].get_subplotspec().get_gridspec().get_geometry() == (2, 2)


def test_the_metrics_of_one_task_stand_side_by_side(table):
    figure = plot_plane(table, tasks=["new"])
    assert panels(figure)[0].get_subplotspec().get_gridspec().get_geometry() == (1, 2)


def test_the_colour_at_a_place_is_that_of_its_loss(table):
    figure = plot_plane(table, metric="loss", tasks=["old"])
    (ax,) = panels(figure)
    filled = next(found for found in ax.collections if found.filled)
    # The regions of the contours hold the places whose loss lies between their levels.
    regions = dict(zip(filled.levels, filled.get_paths(), strict=False))
    low, high = filled.levels[0], filled.levels[1]
    assert regions[low].contains_point((1, 0.01))
    assert low <= landscape(1, 0) < high
    assert not regions[low].contains_point((-0.9, 2.9))


def test_points_and_path_are_drawn_where_they_fall(table, points):
    ax = panels(plot_plane(table, points, metric="loss"))[0]
    assert lines(ax) == [[[0, 0], [1, 0.25], [2, 0]], [[0, 0]], [[2, 0]], [[1, 1]]]


def test_the_legend_tells_the_distance_from_the_plane(table, points):
    (legend,) = plot_plane(table, points).legends
    labels = [text.get_text().replace("\u00a0", " ") for text in legend.get_texts()]
    assert labels == ["a → b (at most 0.25 off the plane)", "a", "b", "far (0.75 off the plane)"]


def test_without_points_there_is_no_legend(table):
    assert plot_plane(table).legends == []


def test_every_point_has_a_marker_of_its_own(table, points):
    ax = panels(plot_plane(table, points))[0]
    markers = [line.get_marker() for line in ax.get_lines()[1:]]
    assert len(set(markers)) == 3
    assert to_rgba(ax.get_lines()[1].get_markerfacecolor()) == (1, 1, 1, 1)


def test_colours_serve_what_lies_between_the_points(table, points):
    table.loc[(table["x"] == 3) & (table["y"] == 3), "loss"] = 1e6
    ax = panels(plot_plane(table, points, metric="loss"))[0]
    filled = next(found for found in ax.collections if found.filled)
    assert filled.levels[-1] < 20
    assert filled.extend == "max"


def test_next_to_no_difference_is_not_blown_up(table):
    flat = table.assign(loss=2.0 + 1e-9 * table["x"], score=0.5)
    for ax in panels(plot_plane(flat)):
        filled = next(found for found in ax.collections if found.filled)
        assert filled.levels[-1] - filled.levels[0] > 0.09


def test_ticks_of_the_colours_can_be_told_apart(table):
    near = table.assign(loss=200 + table["loss"] / 30)
    figure = plot_plane(near, metric="loss")
    for ax in panels(figure):
        (beside,) = ax.child_axes
        texts = [text.get_text() for text in beside.get_yticklabels()]
        assert len(set(texts)) == len(texts) > 2


def test_one_scale_for_both_directions_where_the_grid_allows(table):
    ax = panels(plot_plane(table))[0]
    assert ax.get_box_aspect() == pytest.approx(3 / 4)
    wide = panels(plot_plane(table.assign(x=100 * table["x"])))[0]
    assert wide.get_box_aspect() == pytest.approx(1 / 2)


def test_nothing_stays_open(table, points):
    plot_plane(table, points)
    assert plt.get_fignums() == []


def test_a_grid_with_gaps_is_refused(table):
    with pytest.raises(EvaluationError, match=r"(?s)not make a grid.*19 rows of old at 5 x and 4 y, 1 crossings empty"):
        plot_plane(table.drop(index=3))


def test_a_single_line_is_no_grid(table):
    with pytest.raises(EvaluationError, match=r"(?s)do not make a grid.*at 1 x and 4 y"):
        plot_plane(table[table["x"] == 0])


@pytest.mark.parametrize("column", ["surface", "split", "space"])
def test_several_of_a_kind_need_a_choice(table, column):
    both = pd.concat([table, table.assign(**{column: "other"})])
    with pytest.raises(RunError, match=rf"(?s)holds 2 values of {column}.*pass "):
        plot_plane(both)


def test_a_surface_can_be_chosen(table):
    both = pd.concat([table, table.assign(surface="other", loss=1.0)])
    assert plot_plane(both, surface="other").get_suptitle().startswith("other")


def test_bad_tables_and_settings(table, points):
    with pytest.raises(EvaluationError, match=r"(?s)a plane: the table lacks columns.*no unit, y"):
        plot_plane(table.drop(columns=["unit", "y"]))
    with pytest.raises(EvaluationError, match=r"loss=nan at task=old, x=-1.0, y=0.0"):
        plot_plane(table.assign(loss=table["loss"].where(table.index > 0)))
    with pytest.raises(EvaluationError, match=r"(?s)the points of a plane: the table lacks.*no distance"):
        plot_plane(table, points.drop(columns="distance"))
    with pytest.raises(EvaluationError, match=r"one row for each surface, space, split, task, x, y"):
        plot_plane(pd.concat([table, table]))
    with pytest.raises(RunError, match=r"(?s)a plane of these tasks.*out of new, old.*\['x'\]"):
        plot_plane(table, tasks=["x"])
    with pytest.raises(RunError, match=r"metric='bleu'"):
        plot_plane(table, metric="bleu")
    with pytest.raises(RunError, match=r"metric=\(\)"):
        plot_plane(table, metric=())
