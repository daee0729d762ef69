"""The trade-off between an old and a new task."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from modeconn.errors import EvaluationError, RunError
from modeconn.plotting import plot_trade_off
from modeconn.plotting.trade_off_table import front


def draw(table, **settings):
    return plot_trade_off(table, ax=Figure(figsize=(4, 4)).subplots(), **settings)


def curves(ax):
    return [line.get_xydata().tolist() for line in ax.get_lines() if line.get_markersize() == 3]


def marked(ax, marker, size):
    found = [line for line in ax.get_lines() if line.get_marker() == marker and line.get_markersize() == size]
    return [line.get_xydata()[0].tolist() for line in found]


def star(ax):
    return marked(ax, "*", 11)[0]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_old_lies_across_and_new_upward(one_path):
    ax = draw(one_path)
    assert curves(ax) == [[[0.8, 0.1], [0.7, 0.4], [0.6, 0.9]]]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("old: exact match", "new: exact match")
    assert curves(draw(one_path, old="new", new="old")) == [[[0.1, 0.8], [0.4, 0.7], [0.9, 0.6]]]


def test_the_best_mean_is_marked_and_its_line_drawn(one_path):
    ax = draw(one_path)
    assert star(ax) == [0.6, 0.9]
    assert "best mean, 0.75 at t = 1" in legend(ax)
    (equal,) = [line for line in ax.get_lines() if line.get_linestyle() == ":"]
    assert equal.get_xy1() == (0.6, 0.9)
    assert equal.get_slope() == -1


def test_of_losses_less_is_better(one_path):
    ax = draw(one_path, metric="loss")
    assert star(ax) == [1.2, 0.4]
    assert "best mean, 0.8 at t = 0.5" in legend(ax)
    assert ax.get_xlabel() == "old: loss (nats per scored token)"


def test_both_axes_have_one_scale(one_path):
    ax = draw(one_path)
    assert np.ptp(ax.get_xlim()) == pytest.approx(np.ptp(ax.get_ylim()))
    assert ax.get_box_aspect() == 1


def test_scores_leave_no_room_beyond_one(one_path):
    ax = draw(one_path.assign(score=[1.0, 1.0, 0.9, 0.0, 0.5, 1.0]))
    assert max(*ax.get_xlim(), *ax.get_ylim()) < 1.1


def test_a_side_may_be_the_mean_of_several_tasks(one_path):
    third = one_path[one_path["task"] == "old"].assign(task="older", score=[0.4, 0.5, 0.6])
    ax = draw(pd.concat([one_path, third]), old=["old", "older"], new="new")
    np.testing.assert_allclose(curves(ax), [[[0.6, 0.1], [0.6, 0.4], [0.6, 0.9]]])
    assert ax.get_xlabel() == "mean of old and older: exact match"


def test_intervals_cross_marked_points_where_a_side_is_one_task(one_path):
    table = one_path.assign(score_low=one_path["score"] - 0.05, score_high=one_path["score"] + 0.05)

    def crosses(ax):
        return [line.get_xydata() for line in ax.get_lines() if line.get_linewidth() == 0.6 and line.get_alpha() == 0.6]

    assert len(crosses(draw(table))) == 4  # both ends, of which one is the best; the middle is not marked
    np.testing.assert_allclose(crosses(draw(table))[0], [[0.75, 0.1], [0.85, 0.1]])
    assert len(crosses(draw(table, chosen=0.5))) == 6
    older = table[table["task"] == "old"].assign(task="older")
    assert len(crosses(draw(pd.concat([table, older]), old=["old", "older"], new="new"))) == 2
    assert not crosses(draw(one_path))


def test_the_chosen_position_is_ringed_on_its_path(profile_table):
    assert marked(draw(profile_table, chosen=0.5), "o", 9) == [[0.7, 0.4], [0.7, 0.4]]
    ax = draw(profile_table, chosen={"two -> three": 1.0})
    assert marked(ax, "o", 9) == [[0.6, 0.9]]
    assert "chosen t = 1" in legend(ax)


def test_positions_are_written_once(profile_table):
    written = [text.get_text() for text in draw(profile_table).texts]
    assert sorted(written) == ["0.5", "t = 0", "t = 1"]


def test_paths_are_named_with_their_space(one_path):
    both = pd.concat([one_path, one_path.assign(space="factors", score=one_path["score"] / 2)])
    assert [label.replace("\u00a0", " ") for label in legend(draw(both))[:2]] == [
        "one → two (weights)",
        "one → two (factors)",
    ]


@pytest.mark.parametrize(
    ("metric", "kept"),
    [("score", [[0.2, 0.9], [0.5, 0.5], [0.8, 0.4]]), ("loss", [[0.1, 0.8], [0.5, 0.2]])],
)
def test_the_front_is_what_nothing_beats(metric, kept):
    places = np.array([[0.5, 0.5], [0.2, 0.9], [0.8, 0.4], [0.8, 0.3], [0.5, 0.2], [0.1, 0.8], [0.5, 0.5]])
    assert front(places, metric=metric).tolist() == kept


@pytest.mark.parametrize("metric", ["score", "loss"])
def test_the_front_agrees_with_comparing_every_pair(metric):
    places = np.random.default_rng(0).integers(0, 8, size=(40, 2)).astype(float)
    sign = 1 if metric == "score" else -1

    def beaten(one):
        return any((sign * other >= sign * one).all() and (other != one).any() for other in places)

    slow = sorted({tuple(one) for one in places if not beaten(one)})
    assert [tuple(one) for one in front(places, metric=metric)] == slow


def test_the_shade_ends_at_the_front(one_path):
    shade = draw(one_path).collections[0].get_paths()[0]
    assert shade.contains_point((0.69, 0.39))
    assert not shade.contains_point((0.69, 0.41))
    assert shade.contains_point((0.61, 0.39))
    losses = draw(one_path, metric="loss").collections[0].get_paths()[0]
    assert losses.contains_point((1.21, 0.41))
    assert not losses.contains_point((1.19, 0.41))


def test_a_new_figure_is_left_to_its_owner(one_path):
    ax = plot_trade_off(one_path)
    assert plt.get_fignums() == []
    assert ax.get_legend() is None
    assert len(ax.figure.legends) == 1


def test_tasks_must_be_named_where_there_are_three(one_path):
    three = pd.concat([one_path, one_path.assign(task="third")[:3]])
    message = r"a trade-off between these tasks\n.*out of new, old, third.*\n.*old=None, new=None"
    with pytest.raises(RunError, match=message):
        draw(three)
    for wrong in (
        {"old": "old"},
        {"old": "old", "new": "old"},
        {"old": "old", "new": ["new", "x"]},
        {"old": [], "new": "new"},
    ):
        with pytest.raises(RunError, match="none on both sides"):
            draw(three, **wrong)


def test_a_path_without_the_task(profile_table):
    table = profile_table[(profile_table["path"] != "two -> three") | (profile_table["task"] != "old")]
    with pytest.raises(EvaluationError, match=r"a trade-off along two -> three\n.*\n.*no row of old"):
        draw(table)


def test_tasks_that_share_no_position(one_path):
    table = one_path.assign(t=[0.0, 0.5, 1.0, 0.1, 0.6, 0.9])
    with pytest.raises(EvaluationError, match="no position that they share"):
        draw(table)


@pytest.mark.parametrize("chosen", [0.3, {"one -> two": 0.3}, {"x": 0.5}])
def test_a_chosen_position_must_have_been_measured(one_path, chosen):
    with pytest.raises(RunError, match=r"mark the chosen position\n.*one -> two at 0, 0.5, 1\n"):
        draw(one_path, chosen=chosen)


def test_unknown_settings(one_path):
    with pytest.raises(RunError, match="metric='accuracy'"):
        draw(one_path, metric="accuracy")
    with pytest.raises(RunError, match="no row has split='x'"):
        draw(one_path, split="x")
