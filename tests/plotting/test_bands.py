"""Simultaneous bands: alone, and over a profile."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from modeconn.errors import EvaluationError, RunError
from modeconn.plotting import plot_bands, plot_profile, plot_profiles


@pytest.fixture
def bands(one_path):
    """The losses of `one_path` within a half, and its errors within a fifth."""
    names = ["path", "space", "task", "t"]
    loss = one_path[names].assign(metric="loss", value=one_path["loss"], wide=0.5)
    error = one_path[names].assign(metric="score", value=1 - one_path["score"], wide=0.2)
    table = pd.concat([loss, error], ignore_index=True).assign(above="nothing")
    return table.assign(low=table["value"] - table["wide"], high=table["value"] + table["wide"]).drop(columns="wide")


@pytest.fixture
def raised():
    """Above the chord: `a` has its top at 0.5, `b` is nowhere above."""
    rows = [("a", 0.0, 0.0), ("a", 0.5, 0.4), ("a", 1.0, 0.0), ("b", 0.0, 0.0), ("b", 0.5, -0.3), ("b", 1.0, 0.0)]
    table = pd.DataFrame(rows, columns=["task", "t", "value"])
    names = {"path": "one -> two", "space": "weights", "metric": "loss", "above": "chord"}
    return table.assign(**names, low=table["value"] - 0.1, high=table["value"] + 0.1)


def over(table, bands, **settings):
    return plot_profile(table, ax=Figure().subplots(), bands=bands, **settings)


def alone(table, **settings):
    return plot_bands(table, ax=Figure().subplots(), **settings)


def areas(ax):
    """Lowest and highest of each filled area."""
    boxes = [area.get_paths()[0].get_extents() for area in ax.collections]
    return [(pytest.approx(box.ymin), pytest.approx(box.ymax)) for box in boxes]


def test_over_a_profile_the_band_is_drawn_with_its_edges(one_path, bands):
    ax = over(one_path, bands)
    assert (0.5, 3.5) in areas(ax)  # of the old task
    edges = [line.get_ydata().tolist() for line in ax.get_lines() if line.get_linewidth() == 0.5]
    assert edges[0] == [0.5, 0.7, 2.5]
    assert edges[1] == [1.5, 1.7, 3.5]


def test_a_band_of_the_error_is_turned_round_for_a_score(one_path, bands):
    ax = over(one_path, bands, metric="score")
    assert areas(ax)[0] == (0.4, 1.0)  # scores of 0.6 to 0.8


def test_the_limits_hold_the_band(one_path, bands):
    low, high = over(one_path, bands).get_ylim()
    assert low < -0.1
    assert high > 3.5


def test_the_legend_tells_interval_from_band(one_path, bands):
    def labels(table):
        return [text.get_text() for text in over(one_path, table).get_legend().get_texts()][-2:]

    assert labels(bands) == ["95 % interval at one t", "simultaneous band"]
    assert labels(bands.assign(confidence=0.9))[1] == "90 % simultaneous band"


def test_a_task_without_a_band_is_drawn_without(one_path, bands):
    ax = over(one_path, bands[bands["task"] == "old"])
    assert len([line for line in ax.get_lines() if line.get_linewidth() == 0.5]) == 2


def test_profiles_have_bands_of_every_path_and_metric(profile_table, bands):
    second = bands.assign(path="two -> three")
    shifted = second["metric"] == "loss"
    for column in ("value", "low", "high"):
        second.loc[shifted, column] += 5.0
    figure = plot_profiles(profile_table, metric=("loss", "score"), bands=pd.concat([bands, second]))
    assert all(len([x for x in ax.get_lines() if x.get_linewidth() == 0.5]) == 4 for ax in figure.axes)
    assert figure.axes[1].get_ylim()[1] > 8.5


def test_bands_of_another_path_or_baseline(one_path, bands):
    with pytest.raises(
        RunError, match=r"a band over this profile\n.*above = nothing\n.*one -> two \(weights, loss, above"
    ):
        over(one_path, bands.assign(above="chord"))
    with pytest.raises(RunError, match=r"path = one -> two.*\n.*got: else \(weights"):
        over(one_path, bands.assign(path="else"))


def test_bands_of_another_run(one_path, bands):
    with pytest.raises(EvaluationError, match=r"not those of the profile\n(.*\n)*.*6 of 6 values apart, and 0 unknown"):
        over(one_path, bands.assign(value=bands["value"] + 0.01))
    with pytest.raises(EvaluationError, match=r"and 2 unknown \(positions or tasks"):
        over(one_path, bands.assign(t=bands["t"].replace(0.5, 0.6)))


def test_alone_lines_bands_and_the_zero_line(raised):
    ax = alone(raised)
    lines = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
    assert list(lines["a"]) == [0.0, 0.4, 0.0]
    assert areas(ax) == [(-0.1, 0.5), (-0.4, 0.1)]
    assert [0, 0] in [list(values) for values in lines.values()]
    assert ax.get_ylabel() == "loss above the chord (nats)"
    assert ax.get_title(loc="left") == "one\u00a0→ two (weights)"


def test_a_barrier_is_marked_where_there_is_one(raised):
    large = [line for line in alone(raised).get_lines() if line.get_markersize() == 6.5]
    assert [line.get_xydata().tolist() for line in large] == [[[0.5, 0.4]]]


def test_above_nothing_there_is_no_zero_line_and_no_barrier(raised):
    ax = alone(raised.assign(above="nothing", metric="score"))
    assert not [line for line in ax.get_lines() if line.get_linestyle() == ":"]
    assert not [line for line in ax.get_lines() if line.get_markersize() == 6.5]
    assert ax.get_ylabel() == "error"


def test_a_task_keeps_its_colour_when_others_are_left_out(raised):
    def colour(ax):
        return [to_hex(line.get_color()) for line in ax.get_lines() if line.get_label() == "b"]

    assert colour(alone(raised)) == colour(alone(raised, tasks=["b"]))


def test_rows_in_any_order_give_the_same_lines(raised):
    lines = alone(raised.iloc[::-1]).get_lines()
    assert [list(line.get_xdata()) for line in lines if line.get_label() in "ab"] == [[0.0, 0.5, 1.0]] * 2


def test_several_kinds_need_a_choice(raised):
    both = pd.concat([raised, raised.assign(above="mean")])
    with pytest.raises(RunError, match=r"a band: the table holds 2 values of above\n.*\n.*chord, mean\n.*pass above="):
        alone(both)
    assert alone(both, above="mean").get_ylabel() == "loss above the mean of the ends (nats)"


def test_bad_tables(raised):
    with pytest.raises(
        EvaluationError, match=r"cannot draw a band: the table lacks columns\n(.*\n)*.*got: no high, low"
    ):
        alone(raised.drop(columns=["low", "high"]))
    with pytest.raises(EvaluationError, match=r"low=nan at path=one -> two, task=a, t=0.5"):
        alone(raised.assign(low=[0.0, np.nan, 0.0, 0.0, 0.0, 0.0]))
    with pytest.raises(EvaluationError, match="rows say the same thing twice"):
        alone(pd.concat([raised, raised]))
    with pytest.raises(RunError, match=r"a band of these tasks\n.*a, b\n.*\['c'\]"):
        alone(raised, tasks=["c"])
