import matplotlib.pyplot as plt
import pandas as pd
import pytest

from modeconn.errors import RunError
from modeconn.plotting import PAGE_WIDTH, plot_profiles


def named(ax):
    return {line.get_label(): line for line in ax.get_lines() if not line.get_label().startswith("_")}


def test_one_panel_for_each_path_in_the_tables_order(profile_table):
    left, right = plot_profiles(profile_table).axes
    assert left.get_title(loc="left").split()[0] == "one"
    assert right.get_title(loc="left").split()[0] == "two"
    assert named(right)["old"].get_ydata().tolist() == [6.0, 6.2, 8.0]


def test_panels_of_one_metric_share_the_scale(profile_table):
    left, right = plot_profiles(profile_table).axes
    assert left.get_ylim() == right.get_ylim()
    assert left.get_ylim()[0] < 0.4
    assert left.get_ylim()[1] > 8


def test_each_metric_has_its_row(profile_table):
    axes = plot_profiles(profile_table, metric=("loss", "score")).axes
    assert [ax.get_ylabel() for ax in axes] == ["mean loss (nats per scored token)", "", "exact match", ""]
    assert [ax.get_xlabel() for ax in axes] == ["", "", *["position t on the path"] * 2]


def test_the_metrics_of_one_path_stand_side_by_side(one_path):
    left, right = plot_profiles(one_path, metric=("loss", "score")).axes
    assert left.get_subplotspec().rowspan == right.get_subplotspec().rowspan
    assert right.get_ylabel() == "exact match"


def test_four_paths_stand_two_by_two(one_path):
    table = pd.concat([one_path.assign(path=f"{i} -> {i + 1}") for i in range(4)])
    figure = plot_profiles(table)
    assert figure.axes[0].get_subplotspec().get_gridspec().get_geometry() == (2, 2)
    assert len(figure.axes) == 4


def test_a_task_keeps_its_colour_where_another_is_missing(profile_table):
    gone = (profile_table["path"] == "two -> three") & (profile_table["task"] == "old")
    left, right = plot_profiles(profile_table[~gone]).axes
    assert named(left)["new"].get_color() == named(right)["new"].get_color()


def test_one_legend_names_each_series_once(profile_table):
    figure = plot_profiles(profile_table, metric=("loss", "score"))
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["old", "new", "mean of old and new", "chord between the ends", "95 % interval"]


def test_each_path_can_have_its_own_mean(profile_table):
    left, right = plot_profiles(profile_table, mean_of={"one -> two": ["old"]}).axes
    assert "mean of old and new" not in named(left)
    assert "mean of old and new" in named(right)


def test_it_fills_the_page_and_leaves_nothing_open(profile_table):
    assert plot_profiles(profile_table).get_figwidth() == PAGE_WIDTH
    assert plt.get_fignums() == []


def test_means_of_unknown_paths(profile_table):
    with pytest.raises(RunError, match=r"the means of these paths\n.*one -> two, two -> three\n.*got: x"):
        plot_profiles(profile_table, mean_of={"x": ["old"]})


@pytest.mark.parametrize("metric", ["acc", ("loss", "acc"), ()])
def test_unknown_metrics(profile_table, metric):
    with pytest.raises(RunError, match=r"cannot draw with metric=.*\n.*'loss', 'score'"):
        plot_profiles(profile_table, metric=metric)


def test_several_splits_need_a_choice(profile_table):
    with pytest.raises(RunError, match=r"holds 2 values of split"):
        plot_profiles(profile_table.assign(split=["eval", "test"] * 6))


def test_every_path_may_have_a_space_of_its_own(profile_table):
    """As a line in factors beside a curve in weights."""
    spaces = profile_table["path"].map({"one -> two": "factors", "two -> three": "weights"})
    panels = plot_profiles(profile_table.assign(space=spaces)).axes
    told = [[text.get_text().split(",")[0] for text in ax.texts] for ax in panels]
    assert ["factors space" in told[0], "weights space" in told[1]] == [True, True]


def test_a_path_in_several_spaces_needs_a_choice(profile_table):
    table = pd.concat([profile_table.assign(space=space) for space in ("weights", "factors")])
    with pytest.raises(RunError, match=r"holds 2 values of space"):
        plot_profiles(table)
    assert len(plot_profiles(table, space="factors").axes) == 2
