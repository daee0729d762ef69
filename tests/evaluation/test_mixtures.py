"""Weighted means of tasks as tasks of a profile."""

import numpy as np
import pandas as pd
import pytest
from simulated_losses import GRID, losses, profile_of, together

import modeconn as mc
from modeconn.evaluation.bands import profile_band
from modeconn.evaluation.barrier_table import remarks
from modeconn.evaluation.chebyshev import nodes, through
from modeconn.evaluation.definitions import ALL_DEFINITIONS, measured
from modeconn.evaluation.interpolant import Interpolant

OLD, NEW = losses(height=1.0, num_examples=40), losses(rough=True, num_examples=90, seed=1)
PROFILE = together(profile_of(*OLD, task="old"), profile_of(*NEW, task="new"))
MIXED = PROFILE.mixture({"old": 3, "new": 1}, name="mostly old")


def rows(profile: mc.Profile, task: str) -> pd.DataFrame:
    return profile.frame.loc[profile.frame["task"] == task].reset_index(drop=True)


def test_loss_and_score_are_weighted_means() -> None:
    mixed, old, new = (rows(MIXED, task) for task in ("mostly old", "old", "new"))
    for value in ("loss", "score"):
        np.testing.assert_allclose(mixed[value], 0.75 * old[value] + 0.25 * new[value])
    assert list(MIXED.frame.columns) == list(PROFILE.frame.columns)
    assert mixed["num_examples"].unique().tolist() == [130]
    assert mixed["num_tokens"].iloc[0] == OLD[1].sum() + NEW[1].sum()
    pd.testing.assert_frame_equal(MIXED.frame.query("task != 'mostly old'"), PROFILE.frame)


def test_the_interval_at_a_position_is_that_of_independent_samples() -> None:
    mixed, old, new = (rows(MIXED, task) for task in ("mostly old", "old", "new"))
    for value in ("loss", "score"):
        for end in ("low", "high"):
            reach = np.hypot(*(w * (one[f"{value}_{end}"] - one[value]) for w, one in ((0.75, old), (0.25, new))))
            np.testing.assert_allclose(np.abs(mixed[f"{value}_{end}"] - mixed[value]), reach)


def test_a_mean_of_shares_is_held_by_its_interval() -> None:
    held, rng = 0, np.random.default_rng(0)
    for _ in range(100):
        parts = [
            profile_of(
                np.ones((count, 2)), np.ones(count), scores=rng.random((count, 2)) < p, task=task, t=GRID[[0, -1]]
            )
            for task, count, p in (("a", 20, 0.95), ("b", 60, 0.5))
        ]
        row = rows(together(*parts).mixture(name="mean"), "mean").iloc[0]
        held += row["score_low"] <= 0.725 <= row["score_high"]
    assert 0.91 <= held / 100 <= 0.99


@pytest.mark.parametrize("definition", ALL_DEFINITIONS)
@pytest.mark.parametrize("metric", ["loss", "score"])
def test_its_barriers_are_those_of_its_profile(definition: str, metric: str) -> None:
    table = MIXED.barriers(metric, baselines=[definition], num_resamples=200)  # type: ignore[list-item, arg-type]
    row = table.query("task == 'mostly old'").iloc[0]
    own = rows(MIXED, "mostly old")
    height = (own["loss"] if metric == "loss" else 1 - own["score"]).to_numpy()
    expected = measured(definition, GRID, height, None)  # type: ignore[arg-type]
    assert tuple(row[["barrier", "t_at_max", "t_from", "t_to"]]) == pytest.approx(expected, nan_ok=True)
    assert row["low"] <= row["estimate_corrected"] <= row["high"]
    assert row["num_examples"] == 130


def test_the_error_of_a_mixture_is_that_of_both_tasks() -> None:
    def reach(profile: mc.Profile, task: str) -> float:
        table = profile.barriers(baselines=["average"], num_resamples=4000).set_index("task")
        return (table["high"] - table["low"])[task] / 2

    expected = np.hypot(0.75 * reach(PROFILE, "old"), 0.25 * reach(PROFILE, "new"))
    assert reach(MIXED, "mostly old") == pytest.approx(expected, rel=0.05)


def test_a_mixture_of_one_task_is_the_task() -> None:
    alone = PROFILE.mixture({"old": 2}, name="again")
    table = alone.barriers(baselines=ALL_DEFINITIONS, num_resamples=200).drop(columns="p_holm")
    one, other = (table.query("task == @task").drop(columns="task").reset_index(drop=True) for task in ("old", "again"))
    pd.testing.assert_frame_equal(one, other)


def test_the_interval_holds_the_barrier_of_the_mean() -> None:
    held = 0
    for seed in range(60):
        parts = [
            profile_of(*losses(height=height, seed=2 * seed + number, num_examples=count), task=task)
            for number, (task, height, count) in enumerate([("a", 1.0, 30), ("b", 0.2, 120)])
        ]
        table = together(*parts).mixture(name="mean").barriers(baselines=["chord"], num_resamples=300, seed=seed)
        row = table.query("task == 'mean'").iloc[0]
        held += row["low"] <= 0.6 <= row["high"]
    assert held >= 53


def test_a_mixture_of_mixtures_is_one_of_tasks() -> None:
    nested = MIXED.mixture({"mostly old": 1, "new": 1}, name="half of each")
    assert nested.mixtures["line", "half of each"] == pytest.approx({"old": 0.375, "new": 0.625})
    assert MIXED.mixture(name="all alike").mixtures["line", "all alike"] == {"old": 0.5, "new": 0.5}


def test_the_band_of_a_mixture() -> None:
    bands = MIXED.bands(num_resamples=4000)
    own = bands.query("task == 'mostly old'")
    np.testing.assert_allclose(own["value"], rows(MIXED, "mostly old")["loss"])
    reaches = [
        0.75 * np.ptp([getattr(profile_band(GRID, *OLD), end) for end in ("low", "high")], axis=0),
        0.25 * np.ptp([getattr(profile_band(GRID, *NEW), end) for end in ("low", "high")], axis=0),
    ]
    np.testing.assert_allclose(own["high"] - own["low"], np.hypot(*reaches), rtol=0.15)


def test_the_order_of_examples_and_records_does_not_matter() -> None:
    shuffled = mc.Profile(MIXED.frame, MIXED.examples.sample(frac=1, random_state=0), mixtures=MIXED.mixtures)
    pd.testing.assert_frame_equal(
        shuffled.barriers(baselines=ALL_DEFINITIONS, num_resamples=200),
        MIXED.barriers(baselines=ALL_DEFINITIONS, num_resamples=200),
    )
    pd.testing.assert_frame_equal(shuffled.bands(num_resamples=200), MIXED.bands(num_resamples=200))


def test_resolved_tasks_make_a_resolved_mixture() -> None:
    rng = np.random.default_rng(0)
    profiles, curves = [], {}
    for task, degree in (("a", 4), ("b", 8)):
        t = np.array(nodes(8))
        sums = rng.normal(size=(50, 4)) @ np.vander(t, 4).T + 4 * np.sin(3 * t)
        profiles.append(profile_of(sums, np.ones(50), t=t, task=task))
        curves["line", task] = Interpolant([through(sums[:, :: 8 // degree].mean(axis=0), 0.0, 1.0)])
    both = together(*profiles)
    mixed = mc.Profile(both.frame, both.examples, curves=curves).mixture(name="mean")
    fine = np.linspace(0, 1, 33)
    np.testing.assert_allclose(
        mixed.curve("mean")(fine), (mixed.curve("a")(fine) + mixed.curve("b")(fine)) / 2, atol=1e-12
    )
    table = mixed.barriers(baselines=ALL_DEFINITIONS).query("task == 'mean'").set_index("baseline")
    curve = mixed.curve("mean")
    assert table.loc["chord", "barrier"] == curve.barrier().height
    assert table.loc["average", "barrier"] == pytest.approx(curve.integral() - (curve(0.0) + curve(1.0)) / 2)
    assert ((table["low"] < table["barrier"]) & (table["barrier"] < table["high"])).all()


def test_a_task_of_few_examples_leaves_the_mixture_without_interval() -> None:
    few = together(profile_of(*OLD, task="old"), profile_of(*losses(num_examples=7), task="few")).mixture(name="both")
    table = few.barriers(num_resamples=200).query("task == 'both'")
    assert table["barrier"].notna().all()
    assert table[["low", "high", "p_value"]].isna().all(axis=None)
    assert remarks(table) == [
        "loss barrier of both on line: no interval without the records of 8 examples of every task"
    ]
    assert set(few.bands(num_resamples=200)["task"]) == {"old"}
    assert rows(few, "both")["loss_low"].isna().all()


def test_mixtures_of_several_paths_stay_apart() -> None:
    other = together(profile_of(*NEW, task="old", path="other"), profile_of(*OLD, task="new", path="other"))
    both = mc.Profile.concat([MIXED, other.mixture({"old": 1, "new": 1}, name="mostly old")])
    table = both.barriers(baselines=["average"]).query("task == 'mostly old'").set_index("path")
    alone = MIXED.barriers(baselines=["average"]).query("task == 'mostly old'").iloc[0]
    assert (table.loc["line", "low"], table.loc["line", "high"]) == (alone["low"], alone["high"])
    assert table.loc["other", "low"] != alone["low"]


@pytest.mark.parametrize(
    ("weights", "name", "message"),
    [
        ({"old": 1, "middle": 1}, "m", r"(?s)tasks that were not measured.*some of new, old.*got: middle\n.*remedy"),
        ({}, "m", r"(?s)not measured.*got: no task\n.*remedy"),
        ({"old": 1, "new": 0}, "m", r"(?s)weights that are none.*positive.*got: new: 0\n.*remedy"),
        ({"old": 1, "new": float("nan")}, "m", r"(?s)weights that are none.*got: new: nan\n.*remedy"),
        ({"old": 1}, "new", r"(?s)cannot be called 'new'.*got: new, old\n.*remedy"),
    ],
)
def test_bad_mixtures(weights: dict, name: str, message: str) -> None:
    with pytest.raises(mc.EvaluationError, match=message):
        PROFILE.mixture(weights, name=name)


def test_tasks_that_were_measured_apart_do_not_mix() -> None:
    half = profile_of(OLD[0][:, ::2], OLD[1], t=GRID[::2], task="old")
    with pytest.raises(mc.EvaluationError, match=r"(?s)at different positions.*new has 11 from 0.0, old has 6.*remedy"):
        together(half, profile_of(*NEW, task="new")).mixture()
    other = profile_of(*NEW, task="new", split="eval")
    with pytest.raises(mc.EvaluationError, match=r"(?s)at different splits.*from eval, old has 11 from test.*remedy"):
        together(profile_of(*OLD, task="old"), other).mixture()
