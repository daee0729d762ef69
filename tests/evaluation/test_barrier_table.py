import numpy as np
import pandas as pd
import pytest
from simulated_losses import GRID, losses, profile_of

import modeconn as mc
from modeconn.evaluation.band_table import BAND_COLUMNS
from modeconn.evaluation.bands import profile_band
from modeconn.evaluation.barrier_interval import barrier_interval
from modeconn.evaluation.barrier_table import BARRIER_COLUMNS, barrier_table, remarks, with_holm
from modeconn.evaluation.chebyshev import nodes, through
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
        profile_of(*losses(height=height, seed=seed), path=f"line {seed}") for seed, height in enumerate((0.3, 0.35, 0.0))
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


def test_bad_settings() -> None:
    given = profile_of(*losses())
    with pytest.raises(mc.EvaluationError, match=r"(?s)unknown metric 'bleu'.*loss or score.*remedy"):
        given.barriers("bleu")  # type: ignore[arg-type]
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
