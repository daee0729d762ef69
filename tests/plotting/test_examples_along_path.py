"""Kept, won and lost examples along a path."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from modeconn.errors import EvaluationError, RunError
from modeconn.plotting import plot_examples_along_path
from modeconn.plotting.example_states import KEPT, LOST, NEVER, WON, checked_records, states_of

# By example: right or wrong at t = 0, 0.5 and 1.
STORIES = {0: "111", 1: "110", 2: "100", 3: "101", 4: "011", 5: "001", 6: "000", 7: "010"}


def records(stories=STORIES, task="old", path="one -> two"):
    rows = [
        (path, task, t, example, float(mark))
        for example, story in stories.items()
        for t, mark in zip((0.0, 0.5, 1.0), story, strict=True)
    ]
    return pd.DataFrame(rows, columns=["path", "task", "t", "example", "score"])


def states(frame=None, right_from=1.0):
    return states_of(checked_records(records() if frame is None else frame), right_from=right_from)


def test_every_example_has_its_state_at_every_position():
    found = states()
    by_example = dict(zip(found.examples.tolist(), found.state.tolist(), strict=True))
    assert by_example[0] == [KEPT, KEPT, KEPT]
    assert by_example[3] == [KEPT, LOST, KEPT]
    assert by_example[4] == [NEVER, WON, WON]
    assert by_example[7] == [NEVER, WON, NEVER]


def test_shares_are_counts_and_add_up_to_one():
    shares = states().shares
    np.testing.assert_allclose(shares[:, 2], [2 / 8, 2 / 8, 2 / 8, 2 / 8])
    np.testing.assert_allclose(shares[:, 0], [4 / 8, 0, 0, 4 / 8])
    np.testing.assert_allclose(shares.sum(axis=0), 1)


def test_rows_are_sorted_by_their_first_change():
    assert states().examples.tolist() == [0, 1, 3, 2, 4, 7, 5, 6]


def test_the_order_of_the_records_does_not_matter():
    turned = states(records().sample(frac=1, random_state=0))
    assert turned.examples.tolist() == states().examples.tolist()
    assert (turned.state == states().state).all()


def test_right_can_mean_a_part_of_a_score():
    frame = records({0: "111"}).assign(score=[0.7, 0.4, 0.6])
    assert states(frame, right_from=0.5).state.tolist() == [[KEPT, LOST, KEPT]]
    assert states(frame, right_from=0.3).state.tolist() == [[KEPT, KEPT, KEPT]]


def test_the_heavy_line_is_the_share_that_is_right():
    ax = plot_examples_along_path(records()).axes[0]
    (line,) = ax.get_lines()
    assert line.get_xydata().tolist() == [[0, 4 / 8], [0.5, 4 / 8], [1, 4 / 8]]


def test_lost_examples_lie_above_the_line_and_won_below():
    ax = plot_examples_along_path(records()).axes[0]
    kept, won, lost, never = (area.get_paths()[0] for area in ax.collections)
    assert kept.contains_point((0.99, 0.2))
    assert won.contains_point((0.99, 0.4))
    assert lost.contains_point((0.99, 0.6))
    assert never.contains_point((0.99, 0.9))


def test_the_strip_has_a_row_for_every_example_and_edges_half_way():
    frame = records().assign(t=lambda table: table["t"].replace(0.5, 0.2))
    strip = plot_examples_along_path(frame).axes[1]
    (image,) = strip.images
    assert image.get_array().shape[:2] == (8, 3)
    assert strip.get_ylim() == (0, 8)
    np.testing.assert_allclose(image._Ax, [0, 0.1, 0.6, 1])


def test_lost_and_won_are_counted_at_the_end():
    assert states().counts_at_end() == (2, 2)
    ax = plot_examples_along_path(records()).axes[0]
    assert "n = 8; lost 2, won 2 at t = 1" in [text.get_text().replace("\n", " ") for text in ax.texts]


def test_every_task_has_its_panels_and_the_strip_can_be_left_out():
    frame = pd.concat([records(), records(task="new")])
    titles = [ax.get_title(loc="left") for ax in plot_examples_along_path(frame).axes]
    assert titles == ["old", "new", "", ""]
    assert len(plot_examples_along_path(frame, strip=False).axes) == 2
    assert len(plot_examples_along_path(frame, tasks=["new"], strip=False).axes) == 1


def test_a_threshold_is_said_where_scores_are_not_0_or_1():
    assert "score of" not in plot_examples_along_path(records()).get_suptitle()
    graded = plot_examples_along_path(records().assign(score=0.6), right_from=0.5)
    assert graded.get_suptitle().endswith("right: a score of 0.5 or more")


def test_nothing_stays_open():
    plot_examples_along_path(records())
    assert plt.get_fignums() == []


def test_several_paths_need_a_choice():
    both = pd.concat([records(), records(path="x")])
    with pytest.raises(RunError, match=r"examples along a path: the table holds 2 values of path\n"):
        plot_examples_along_path(both)
    assert plot_examples_along_path(both, path="x").get_suptitle() == "x"


@pytest.mark.parametrize("threshold", [0, 1.1, float("nan")])
def test_a_threshold_that_divides_nothing(threshold):
    with pytest.raises(RunError, match=r"right_from=.*\n.*above 0 and at most 1"):
        plot_examples_along_path(records(), right_from=threshold)


def test_examples_that_lack_a_position():
    with pytest.raises(EvaluationError, match=r"old was not followed from t = 0\n.*\n.*0, 0.5, 1; incomplete: 0"):
        plot_examples_along_path(records().drop(index=1))
    with pytest.raises(EvaluationError, match=r"positions 0.5, 1; incomplete: none"):
        plot_examples_along_path(records().query("t > 0"))


def test_bad_tables():
    with pytest.raises(EvaluationError, match=r"the table lacks columns\n(.*\n)*.*got: no score"):
        plot_examples_along_path(records().drop(columns="score"))
    with pytest.raises(EvaluationError, match=r"score=nan at path=one -> two, task=old, t=0.0, example=0"):
        plot_examples_along_path(records().assign(score=lambda table: table["score"].where(table.index > 0)))
    with pytest.raises(EvaluationError, match="rows say the same thing twice"):
        plot_examples_along_path(pd.concat([records(), records()]))
    with pytest.raises(RunError, match=r"of these tasks\n.*old\n.*\['x'\]"):
        plot_examples_along_path(records(), tasks=["x"])
