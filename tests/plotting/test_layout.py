"""Whatever the names and sizes, no text leaves the figure and no legend covers data."""

import itertools

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from modeconn.plotting import COLUMN_WIDTH, PAGE_WIDTH, plot_profile, plot_profiles, plot_score_matrix

LONG = ["stance", "policy-tone", "meeting-summary", "science-multiple-choice", "arithmetic", "simplification"]
LONG += ["medical-multiple-choice", "a_name_that_nobody_would_give_but_somebody_gives_to_a_$task$_of_their_own"]


def many_tasks(table):
    """Eight tasks with long names, on paths between long folder names."""
    rows = table[table["task"] == "old"]
    tall = pd.concat([rows.assign(task=task, loss=rows["loss"] + i / 9) for i, task in enumerate(LONG)])
    return tall.assign(path="runs/" + tall["path"].str.replace(" -> ", "-with-a-long-name -> runs/a-longer-folder-"))


def drawn(figure):
    FigureCanvasAgg(figure).draw()
    return figure


def visible_texts(figure):
    """The texts that are drawn: not empty, and not the labels of ticks beyond an axis's limits."""
    axes = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    ticks = [(tick, *sorted(axis.get_view_interval())) for axis in axes for tick in axis.get_major_ticks()]
    beyond = {tick.label1 for tick, low, high in ticks if not low <= tick.get_loc() <= high}
    texts = set(figure.findobj(Text)) - beyond
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


def outside(figure):
    """Texts that reach more than a pixel over the figure's edge."""
    width, height = figure.bbox.size
    boxes = [(text.get_text(), text.get_window_extent()) for text in visible_texts(figure)]
    return [t for t, box in boxes if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1]


def overlapping(figure):
    """Pairs of texts whose boxes share more than a pixel in both directions."""
    boxes = [(text.get_text(), text.get_window_extent().padded(-1)) for text in visible_texts(figure)]
    return [(a, b) for (a, first), (b, second) in itertools.combinations(boxes, 2) if first.overlaps(second)]


@pytest.mark.parametrize("width", [2.2, COLUMN_WIDTH, PAGE_WIDTH])
@pytest.mark.parametrize("prepare", [lambda table: table, many_tasks], ids=["short", "long"])
def test_a_profile_keeps_its_text_inside_and_apart(profile_table, width, prepare):
    table = prepare(profile_table)
    ax = plot_profile(table, path=table["path"].iloc[0], width=width)
    figure = drawn(ax.figure)
    assert outside(figure) == []
    assert overlapping(figure) == []
    assert not figure.legends[0].get_window_extent().overlaps(ax.get_window_extent())
    assert ax.get_window_extent().height / figure.dpi > 1.4


@pytest.mark.parametrize("num_paths", [2, 3, 7])
def test_profiles_keep_their_text_inside_and_apart(profile_table, num_paths):
    one = many_tasks(profile_table[profile_table["path"] == "one -> two"])
    table = pd.concat([one.assign(path=f"after-{i}-{LONG[i]} -> after-{i + 1}-{LONG[i]}") for i in range(num_paths)])
    figure = drawn(plot_profiles(table, metric=("loss", "score")))
    assert outside(figure) == []
    assert overlapping(figure) == []
    assert min(ax.get_window_extent().height for ax in figure.axes) / figure.dpi > 1.4


def test_a_score_matrix_keeps_its_text_inside(scores_table):
    table = pd.concat([scores_table.assign(task=task) for task in LONG[:7]]).drop_duplicates(
        ["seed", "after_task", "task"]
    )
    assert outside(drawn(plot_score_matrix(table).figure)) == []


def test_a_single_task_has_no_mean(one_path):
    figure = plot_profile(one_path[one_path["task"] == "old"]).figure
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["old", "chord between the ends", "95 % interval"]
    assert outside(drawn(figure)) == []
