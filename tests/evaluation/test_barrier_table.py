from typing import Any

import numpy as np
import pandas as pd
import pytest
from simulated_losses import GRID, losses, profile_of

import modeconn as mc
from modeconn.evaluation.band_table import BAND_COLUMNS
from modeconn.evaluation.bands import profile_band
from modeconn.evaluation.barrier_interval import BarrierInterval, barrier_interval, interval_over_tasks
from modeconn.evaluation.barrier_table import BARRIER_COLUMNS, barrier_table, remarks, with_holm
from modeconn.evaluation.chebyshev import nodes, through
from modeconn.evaluation.definitions import ALL_DEFINITIONS, measured
from modeconn.evaluation.interpolant import Interpolant
from modeconn.evaluation.multiplicity import holm


def test_a_row_is_what_the_function_on_arrays_gives() -> None:
    sums, tokens = losses(height=0.5, rough=True)
    table = profile_of(sums, tokens).barriers()
    assert tuple(table.columns) == BARRIER_COLUMNS
    for baseline in ("chord", "mean"):
        row = table.set_index("baseline").loc[baseline]
        found = barrier_interval(GRID, sums, tokens, baseline=baseline)  # type: ignore[arg-type]
        assert (row["barrier"], row["t_at_max"]) == (pytest.approx(found.height), found.t)
        assert (row["low"], row["high"], row["p_value"]) == (found.low, found.high, found.p_value)
        assert (row["estimate_corrected"], row["num_effective"]) == (found.corrected, found.num_effective)


def test_the_error_is_one_less_the_score() -> None:
    sums, tokens = losses(height=1.0, rough=True)
    row = profile_of(sums, tokens).barriers("score", seed=3).iloc[0]
    errors = (sums / tokens[:, None] >= 2).astype(float)
    found = barrier_interval(GRID, errors, np.ones(60), seed=3)
    assert (row["barrier"], row["low"], row["high"]) == (pytest.approx(found.height), found.low, found.high)


def test_the_order_of_the_records_does_not_matter() -> None:
    given = profile_of(*losses(height=0.5))
    shuffled = given.examples.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(barrier_table(given.frame, shuffled), given.barriers())


def test_holm_counts_paths_and_tasks_of_one_baseline() -> None:
    both = mc.Profile.concat([
        profile_of(*losses(height=height, seed=seed), path=f"line {seed}")
        for seed, height in enumerate((0.3, 0.35, 0.0))
    ])  # fmt: skip
    table = both.barriers()
    for _, group in table.groupby("baseline"):
        assert len(group) == 3
        np.testing.assert_array_equal(group["p_holm"], holm(group["p_value"]))
    assert (table["p_holm"] >= table["p_value"]).all()
    again = with_holm(table.assign(p_holm=0.0))
    pd.testing.assert_frame_equal(again, table)


def test_below_eight_examples_there_is_the_estimate_alone() -> None:
    sums, tokens = losses(num_examples=7, height=1.0)
    table = profile_of(sums, tokens).barriers()
    assert table["barrier"].notna().all()
    assert table[["low", "high", "estimate_corrected", "p_value", "p_holm", "num_effective"]].isna().all(axis=None)
    assert remarks(table) == ["loss barrier of tone on line: 7 examples are too few for an interval"]


def test_without_records_there_is_the_estimate_alone() -> None:
    given = profile_of(*losses(height=1.0))
    table = barrier_table(given.frame, given.examples.iloc[:0])
    assert table["barrier"].notna().all()
    assert table["low"].isna().all()


def test_an_interval_that_few_examples_carry_is_remarked_on() -> None:
    sums, tokens = losses()
    assert remarks(profile_of(sums, tokens).barriers()) == []
    sums[0, 1:-1] += 500
    (remark,) = remarks(profile_of(sums, tokens).barriers())
    assert remark.startswith("loss barrier of tone on line: about 1.0 of 60 examples carry its variance")


def test_a_resolved_profile_has_the_interval_of_its_curve() -> None:
    t = np.array(nodes(8))
    rng = np.random.default_rng(0)
    # per-example polynomials of degree 4: nine nodes say all about them, also where the maximum is
    powers = np.vander(t, 5)
    coefficients = rng.normal(size=(80, 5)) + np.array([0, -3, 0, 3.3, 1])
    sums = coefficients @ powers.T
    at_nodes = profile_of(sums, np.ones(80), t=t)
    curve = Interpolant([through(sums.mean(axis=0), 0.0, 1.0)])
    table = barrier_table(at_nodes.frame, at_nodes.examples, curves={("line", "tone"): curve})
    row = table[table["baseline"] == "chord"].iloc[0]
    top = curve.barrier("chord")
    assert (row["barrier"], row["t_at_max"]) == (top.height, top.t)
    fine = np.unique([*t, *((t[1:] + t[:-1]) / 2), top.t])
    found = barrier_interval(fine, coefficients @ np.vander(fine, 5).T, np.ones(80))
    assert (row["low"], row["high"]) == pytest.approx((found.low, found.high), rel=1e-6)
    assert row["low"] < row["barrier"] < row["high"]


def test_pieces_of_a_curve_are_interpolated_apart() -> None:
    left, right = np.array(nodes(4)) / 2, 0.5 + np.array(nodes(4)) / 2
    t = np.concatenate([left, right[1:]])
    rng = np.random.default_rng(0)
    kinks = rng.uniform(0.5, 2, size=(50, 1)) * (0.5 - np.abs(t - 0.5))
    at_nodes = profile_of(kinks, np.ones(50), t=t)
    mean = kinks.mean(axis=0)
    curve = Interpolant([through(mean[:5], 0.0, 0.5), through(mean[4:], 0.5, 1.0)])
    table = barrier_table(at_nodes.frame, at_nodes.examples, curves={("line", "tone"): curve})
    found = barrier_interval(t, kinks, np.ones(50))  # the top is at a joint, so that the nodes know it
    row = table[table["baseline"] == "chord"].iloc[0]
    assert row["t_at_max"] == 0.5
    assert (row["low"], row["high"]) == pytest.approx((found.low, found.high), rel=1e-6)


def test_every_definition_has_its_row() -> None:
    sums, tokens = losses(height=0.5, rough=True)
    for metric in ("loss", "score"):
        table = profile_of(sums, tokens).barriers(metric, baselines=ALL_DEFINITIONS)  # type: ignore[arg-type]
        assert table["baseline"].tolist() == list(ALL_DEFINITIONS)
        values = (sums, tokens) if metric == "loss" else ((sums / tokens[:, None] >= 2).astype(float), np.ones(60))
        for row in table.itertuples():
            found = barrier_interval(GRID, *values, baseline=row.baseline)
            assert (row.barrier, row.t_at_max) == pytest.approx((found.height, found.t), nan_ok=True)
            assert (row.low, row.high, row.estimate_corrected) == (found.low, found.high, found.corrected)
            assert (row.p_value, row.num_effective) == (found.p_value, found.num_effective)
            assert (row.t_from, row.t_to) == (found.start, found.end)
            assert row.p_holm == row.p_value  # alone of its definition


def test_one_number_under_two_names_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def counted(*given: Any, **settings: Any) -> BarrierInterval:
        asked.append(settings["baseline"])
        return interval_over_tasks(*given, **settings)

    monkeypatch.setattr("modeconn.evaluation.barrier_table.interval_over_tasks", counted)
    table = profile_of(*losses(height=0.5)).barriers("score", baselines=ALL_DEFINITIONS, num_resamples=200)
    assert asked == ["chord", "mean", "convexity", "average"]
    mean, instability = (table[table["baseline"] == one].drop(columns="baseline") for one in ("mean", "instability"))
    assert mean.to_numpy().tolist() == instability.to_numpy().tolist()


@pytest.mark.parametrize("definition", ALL_DEFINITIONS)
def test_a_resolved_profile_has_every_definition_between_its_nodes(definition: str) -> None:
    t = np.array(nodes(8))
    coefficients = np.random.default_rng(0).normal(size=(80, 5)) + np.array([8, -16, 10, -1.5, 1])
    sums = coefficients @ np.vander(t, 5).T
    given = profile_of(sums, np.ones(80), t=t)
    curve = Interpolant([through(sums.mean(axis=0), 0.0, 1.0)])
    (row,) = barrier_table(
        given.frame, given.examples, curves={("line", "tone"): curve}, baselines=[definition]  # type: ignore[list-item]
    ).itertuples()  # fmt: skip
    dense = np.linspace(0, 1, 2001)
    expected = measured(definition, dense, coefficients.mean(axis=0) @ np.vander(dense, 5).T, None)  # type: ignore[arg-type]
    assert row.barrier == pytest.approx(expected.height, abs=1e-5)
    assert (row.t_at_max, row.t_from, row.t_to) == pytest.approx(expected[1:], abs=2e-3, nan_ok=True)
    if definition == "average":
        powers = 1 / np.arange(5, 0, -1)
        exact = coefficients @ powers - (coefficients[:, -1] + coefficients.sum(axis=1)) / 2
        found = barrier_interval([0, 0.5, 1], np.outer(exact, [0, 2, 0]), np.ones(80), baseline="average")
    else:
        between = [] if definition == "convexity" else (t[1:] + t[:-1]) / 2
        fine = np.unique([*t, *between, row.t_at_max, row.t_from, row.t_to])
        found = barrier_interval(fine, coefficients @ np.vander(fine, 5).T, np.ones(80), baseline=definition)  # type: ignore[arg-type]
    assert (row.low, row.high) == pytest.approx((found.low, found.high), rel=1e-6)


def test_positions_that_are_no_nodes_do_not_bend_the_interval() -> None:
    """Four nodes of the next degree test a polynomial; taking them for its own would make it another one."""
    t = np.unique([*nodes(8), *nodes(16)[3:8:2], nodes(16)[11]])
    sums = np.random.default_rng(0).normal(size=(50, 1)) * np.abs(t - 0.43) + np.sin(3 * t)
    curve = Interpolant([through(sums.mean(axis=0)[np.isin(t, nodes(8))], 0.0, 1.0)])
    given = profile_of(sums, np.ones(50), t=t)
    row = barrier_table(given.frame, given.examples, curves={("line", "tone"): curve}, baselines=["chord"]).iloc[0]
    only = profile_of(sums[:, np.isin(t, nodes(8))], np.ones(50), t=np.array(nodes(8)))
    plain = barrier_table(only.frame, only.examples, curves={("line", "tone"): curve}, baselines=["chord"]).iloc[0]
    assert row["barrier"] == plain["barrier"]
    assert (row["low"], row["high"]) == pytest.approx((plain["low"], plain["high"]), abs=1e-3)


def test_the_order_of_the_records_does_not_matter_to_any_definition() -> None:
    given = profile_of(*losses(height=0.5))
    shuffled = mc.Profile(given.frame, given.examples.sample(frac=1, random_state=0))
    for metric in ("loss", "score"):
        pd.testing.assert_frame_equal(*(
            one.barriers(metric, baselines=ALL_DEFINITIONS, num_resamples=200) for one in (shuffled, given)  # type: ignore[arg-type]
        ))  # fmt: skip
        pd.testing.assert_frame_equal(*(one.bands(metric, num_resamples=200) for one in (shuffled, given)))  # type: ignore[arg-type]


def test_numbering_the_examples_otherwise_changes_points_of_intervals_only_by_chance() -> None:
    sums, tokens = losses(height=0.5)
    order = np.random.default_rng(0).permutation(60)
    both = (profile_of(sums, tokens), profile_of(sums[order], tokens[order]))
    one, other = (profile.barriers(baselines=ALL_DEFINITIONS) for profile in both)
    for exact in ("barrier", "t_at_max", "num_effective"):
        np.testing.assert_allclose(one[exact], other[exact])
    np.testing.assert_allclose(one[["low", "high"]], other[["low", "high"]], atol=0.05)


@pytest.mark.parametrize("method", ["barriers", "bands"])
def test_an_example_without_a_value_is_named_by_its_number(method: str) -> None:
    given = profile_of(*losses())
    broken = given.examples.copy()
    broken.loc[(broken["example"] == 17) & (broken["t"] == GRID[2]), "loss_sum"] = np.nan
    broken.loc[(broken["example"] == 4) & (broken["t"] == 1), "loss_sum"] = np.inf
    broken["example"] += 1000  # as in a sample of a larger split
    with pytest.raises(
        mc.EvaluationError, match=r"(?s)tone on line have no loss.*2 of 60 examples.*at examples 1004, 1017\n.*remedy"
    ):
        getattr(mc.Profile(given.frame, broken), method)()
    gone = given.examples.drop(index=given.examples.query("example == 5 and t == 1").index)
    with pytest.raises(mc.EvaluationError, match=r"(?s)1 of 60.*missing values, at examples 5\n"):
        getattr(mc.Profile(given.frame, gone), method)()


def test_no_profile_is_made_of_means_without_some_examples() -> None:
    sums, tokens = losses()
    sums[[17, 4, 9], [2, 3, 2]] = np.nan
    message = r"(?s)no mean loss of tone on line at t=0.2.*2 NaN or infinite, at examples 9, 17\n.*remedy"
    with pytest.raises(mc.EvaluationError, match=message):
        profile_of(sums, tokens)
    scores = np.ones((60, 11))
    scores[5, 0] = np.inf
    with pytest.raises(mc.EvaluationError, match=r"(?s)no mean score.*at t=0\n.*1 NaN or infinite, at examples 5\n"):
        profile_of(*losses(), scores=scores)


def test_records_of_other_positions_are_refused() -> None:
    given = profile_of(*losses())
    with pytest.raises(mc.EvaluationError, match=r"(?s)records of tone are not those.*11 positions.*at 10 positions"):
        mc.Profile(given.frame, given.examples.query("t > 0")).barriers()


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_constant_scores_are_no_barrier(right: float) -> None:
    sums, tokens = losses(num_examples=100)
    table = profile_of(sums, tokens, scores=np.full(sums.shape, right)).barriers("score", baselines=ALL_DEFINITIONS)
    assert (table["barrier"] == 0).all()
    assert (table["low"] <= 0).all()
    assert table["high"].between(0.01, 0.04).all()  # 3 / N: another 100 examples may hold one that changes
    assert (table["p_value"] > 0.2).all()


def test_between_identical_ends_there_is_no_barrier() -> None:
    rng = np.random.default_rng(0)
    same = np.repeat(rng.uniform(1, 2, size=(20, 1)), 11, axis=1)
    table = profile_of(same, np.ones(20)).barriers(baselines=ALL_DEFINITIONS)
    assert not table[["barrier", "low", "high", "estimate_corrected"]].to_numpy().any()
    assert (table["p_value"] == 1).all()


def test_bad_settings() -> None:
    given = profile_of(*losses())
    with pytest.raises(mc.EvaluationError, match=r"(?s)unknown metric 'bleu'.*loss or score.*remedy"):
        given.barriers("bleu")  # type: ignore[arg-type]
    with pytest.raises(mc.EvaluationError, match=r"(?s)unknown baseline 'top'.*convexity or average.*remedy"):
        given.barriers(baselines=["chord", "top"])  # type: ignore[list-item]
    with pytest.raises(mc.EvaluationError, match=r"(?s)no interval of this confidence.*confidence=95"):
        given.barriers(confidence=95)


def test_a_band_of_every_task_in_a_table() -> None:
    both = mc.Profile.concat([profile_of(*losses(seed=seed), path=f"line {seed}") for seed in (0, 1)])
    few = mc.Profile.concat([both, profile_of(*losses(num_examples=7), path="short")])
    table = few.bands(above="chord", confidence=0.9, seed=5)
    assert tuple(table.columns) == BAND_COLUMNS
    assert table["path"].value_counts().to_dict() == {"line 0": 11, "line 1": 11}
    expected = profile_band(GRID, *losses(seed=1), above="chord", confidence=0.9, seed=5)
    own = table[table["path"] == "line 1"]
    for name in ("t", "value", "low", "high"):
        np.testing.assert_array_equal(own[name], getattr(expected, name))
    assert (own["critical"] == expected.critical).all()
    assert mc.Profile(few.frame, few.examples.iloc[:0]).bands().empty


def test_a_band_of_scores_is_one_of_errors() -> None:
    sums, tokens = losses(height=1.0, rough=True)
    table = profile_of(sums, tokens).bands("score")
    np.testing.assert_allclose(table["value"], 1 - profile_of(sums, tokens).frame["score"])
    with pytest.raises(mc.EvaluationError, match="unknown metric 'bleu'"):
        profile_of(sums, tokens).bands("bleu")  # type: ignore[arg-type]


def test_between_a_real_checkpoint_and_itself_there_is_rounding_only(
    ends: list[mc.Adapter], model: mc.AdapterModel, tasks: list[mc.Task]
) -> None:
    twin = mc.LinearPath(ends[0], ends[0], name="twin")
    profile = mc.evaluate_path(twin, model, tasks, num_points=5)
    table = profile.barriers(baselines=ALL_DEFINITIONS, num_resamples=200)
    assert (table[["barrier", "low", "high"]].abs() < 1e-5).all(axis=None)
    scores = profile.barriers("score", baselines=ALL_DEFINITIONS, num_resamples=200)
    assert not scores["barrier"].any()
    assert set(profile.example_barriers()["status"]) <= {"kept", "never"}
