"""Whatever the names and sizes, no text leaves the figure and no legend covers data."""

import numpy as np
import pandas as pd
import pytest

from modeconn.plotting import (
    COLUMN_WIDTH,
    PAGE_WIDTH,
    plot_bands,
    plot_barriers,
    plot_examples_along_path,
    plot_paths_compared,
    plot_profile,
    plot_profiles,
    plot_score_matrix,
    plot_trade_off,
)

LONG = ["stance", "policy-tone", "meeting-summary", "science-multiple-choice", "arithmetic", "simplification"]
LONG += ["medical-multiple-choice", "a_name_that_nobody_would_give_but_somebody_gives_to_a_$task$_of_their_own"]


def many_tasks(table):
    """Eight tasks with long names, on paths between long folder names."""
    rows = table[table["task"] == "old"]
    tall = pd.concat([rows.assign(task=task, loss=rows["loss"] + i / 9) for i, task in enumerate(LONG)])
    return tall.assign(path="runs/" + tall["path"].str.replace(" -> ", "-with-a-long-name -> runs/a-longer-folder-"))


@pytest.mark.parametrize("width", [2.2, COLUMN_WIDTH, PAGE_WIDTH])
@pytest.mark.parametrize("prepare", [lambda table: table, many_tasks], ids=["short", "long"])
def test_a_profile_keeps_its_text_inside_and_apart(profile_table, width, prepare, clashes):
    table = prepare(profile_table)
    ax = plot_profile(table, path=table["path"].iloc[0], width=width)
    figure = ax.figure
    assert clashes(figure) == []
    assert not figure.legends[0].get_window_extent().overlaps(ax.get_window_extent())
    assert ax.get_window_extent().height / figure.dpi > 1.4


@pytest.mark.parametrize("num_paths", [2, 3, 7])
def test_profiles_keep_their_text_inside_and_apart(profile_table, num_paths, clashes):
    one = many_tasks(profile_table[profile_table["path"] == "one -> two"])
    table = pd.concat([one.assign(path=f"after-{i}-{LONG[i]} -> after-{i + 1}-{LONG[i]}") for i in range(num_paths)])
    figure = plot_profiles(table, metric=("loss", "score"))
    assert clashes(figure) == []
    assert min(ax.get_window_extent().height for ax in figure.axes) / figure.dpi > 1.4


def test_a_score_matrix_keeps_its_text_inside(scores_table, clashes):
    table = pd.concat([scores_table.assign(task=task) for task in LONG[:7]]).drop_duplicates(
        ["seed", "after_task", "task"]
    )
    assert clashes(plot_score_matrix(table).figure) == []


def test_a_single_task_has_no_mean(one_path, clashes):
    figure = plot_profile(one_path[one_path["task"] == "old"]).figure
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["old", "chord between the ends", "95 % interval"]
    assert clashes(figure) == []


def records(tasks, *, path="old -> new"):
    """Per-example records of ten examples at three positions."""
    rows = [
        (path, task, t, i, float((i + 10 * t) % 4 > 1)) for task in tasks for t in (0.0, 0.5, 1.0) for i in range(10)
    ]
    return pd.DataFrame(rows, columns=["path", "task", "t", "example", "score"])


def barriers(paths, tasks):
    """A barrier for every path and task; some rest on few examples, some have no interval."""
    rows = [(path, "weights", task, "loss", "chord", 100) for path in paths for task in tasks]
    table = pd.DataFrame(rows, columns=["path", "space", "task", "metric", "baseline", "num_examples"])
    number = np.arange(len(table))
    height = number / 200
    known = np.where(number % 5 == 4, np.nan, 1.0)
    few = np.where(number % 2, 3.0, 50.0)
    interval = {"low": (height - 0.05).clip(0) * known, "high": (height + 0.05) * known}
    rest = {"estimate_corrected": (height - 0.01).clip(0) * known, "p_holm": 0.03 * known, "num_effective": few}
    return table.assign(barrier=height, **interval, **rest)


@pytest.mark.parametrize("width", [COLUMN_WIDTH, PAGE_WIDTH])
@pytest.mark.parametrize(("num_paths", "num_tasks"), [(1, 1), (60, 1), (20, 3), (3, 8)])
def test_a_forest_plot_keeps_its_text_inside_and_apart(width, num_paths, num_tasks, clashes):
    paths = [f"runs/a-long-folder/after-{i}-{LONG[i % 7]} -> after-{i + 1}" for i in range(num_paths)]
    if num_paths == 20:
        paths = [f"{i} -> {i + 1}" for i in range(num_paths)]
    figure = plot_barriers(barriers(paths, LONG[:num_tasks]), width=width)
    assert clashes(figure) == []
    assert min(ax.get_window_extent().width for ax in figure.axes) / figure.dpi > 1


@pytest.mark.parametrize("width", [COLUMN_WIDTH, PAGE_WIDTH])
@pytest.mark.parametrize("num_tasks", [1, 2, 8])
@pytest.mark.parametrize("strip", [True, False])
def test_examples_along_a_path_keep_their_text_inside_and_apart(width, num_tasks, strip, clashes):
    figure = plot_examples_along_path(records(LONG[:num_tasks]), width=width, strip=strip)
    assert clashes(figure) == []
    assert min(ax.get_window_extent().height for ax in figure.axes) / figure.dpi > 0.9


@pytest.mark.parametrize("num_tasks", [1, 2, 8])
def test_bands_keep_their_text_inside_and_apart(num_tasks, clashes):
    t = [0.0, 0.5, 1.0]
    names = {"path": "runs/one-with-a-long-name -> runs/another-folder", "space": "weights", "metric": "loss"}
    tables = [
        pd.DataFrame({**names, "above": "chord", "task": task, "t": t, "value": [0, 1, 0]}) for task in LONG[:num_tasks]
    ]
    table = pd.concat(tables).assign(low=lambda x: x["value"] - 0.1, high=lambda x: x["value"] + 0.1)
    assert clashes(plot_bands(table).figure) == []


def test_a_profile_with_bands_keeps_its_text_inside_and_apart(profile_table, clashes):
    table = many_tasks(profile_table)
    path = table["path"].iloc[0]
    own = table[table["path"] == path]
    bands = own.assign(metric="loss", above="nothing", value=own["loss"], low=own["loss"] - 1, high=own["loss"] + 1)
    assert clashes(plot_profile(table, path=path, bands=bands).figure) == []


@pytest.mark.parametrize("width", [COLUMN_WIDTH, PAGE_WIDTH])
def test_a_trade_off_keeps_its_text_inside_and_apart(profile_table, width, clashes):
    table = many_tasks(profile_table)
    rising = table.assign(score=[(i % 11) / 11 for i in range(len(table))])
    figure = plot_trade_off(rising, old=LONG[:7], new=LONG[7], chosen=0.5, width=width).figure
    assert clashes(figure) == []


def test_compared_paths_keep_their_text_inside_and_apart(profile_table, clashes):
    assert clashes(plot_paths_compared(many_tasks(profile_table)).figure) == []
    assert clashes(plot_paths_compared(many_tasks(profile_table), tasks=[LONG[7]]).figure) == []
