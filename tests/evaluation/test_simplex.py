"""Simplices are measured at their corners and at uniform points: known landscapes, paths and means as oracles."""

import numpy as np
import pytest
from fit_toys import nothing, places, plane_model
from places import place_model

import modeconn as mc
from modeconn.errors import EvaluationError, ModelError
from modeconn.evaluation.simplex import SIMPLEX_COLUMNS, evaluate_simplex
from modeconn.paths.simplex import Simplex

CORNERS = ((0.0, 0.0), (2.0, 0.0), (0.0, 1.0))


def bowl(outputs, _):
    return outputs.square().sum(1)


def measured(points=CORNERS, loss=bowl, **settings):
    return evaluate_simplex(places(*points), plane_model(loss), [nothing()], **settings)


def test_the_table_has_the_losses_of_the_points_that_its_weights_name():
    frame = measured(num_samples=20).frame
    assert list(frame.columns) == [*SIMPLEX_COLUMNS, "weight_0", "weight_1", "weight_2"]
    weights = frame[["weight_0", "weight_1", "weight_2"]].to_numpy()
    np.testing.assert_allclose(weights.sum(1), 1.0)
    expected = ((weights @ np.array(CORNERS)) ** 2).sum(1)
    np.testing.assert_allclose(frame["loss"], expected, rtol=1e-5, atol=1e-7)
    assert frame["role"].tolist() == ["corner"] * 3 + ["sample"] * 20
    np.testing.assert_array_equal(weights[:3], np.eye(3))


def test_the_summary_is_that_of_the_samples():
    profile = measured(num_samples=30, seed=4)
    (row,) = profile.summary().to_dict("records")
    samples = profile.frame.query("role == 'sample'")
    assert row["mean_loss"] == pytest.approx(samples["loss"].mean())
    assert row["worst_loss"] == samples["loss"].max()
    assert row["num_samples"] == 30
    assert row["volume"] == pytest.approx(1.0)


def test_the_mean_is_that_over_the_simplex():
    """Of |x|^2 over the triangle: (|p_0 + p_1 + p_2|^2 + sum_k |p_k|^2) / 12."""
    (row,) = measured(num_samples=2000).summary().to_dict("records")
    assert row["mean_loss"] == pytest.approx((5 + 5) / 12, rel=0.05)


def test_above_the_corners_is_above_what_the_corners_say():
    """A convex loss lies below; a concave one is highest above its corners inside."""
    (convex,) = measured(num_samples=50).summary().to_dict("records")
    (concave,) = (
        measured(num_samples=400, loss=lambda outputs, _: -outputs.square().sum(1)).summary().to_dict("records")
    )
    assert convex["worst_above_corners"] < 0
    # Along the longest edge, of length sqrt(5), the chord is 5 / 4 away from the parabola in the middle.
    assert concave["worst_above_corners"] == pytest.approx(5 / 4, abs=0.1)


def test_the_volume_is_that_of_the_corners():
    assert measured(num_samples=1).volume == pytest.approx(1.0)
    assert measured(((0.0, 0.0), (3.0, 4.0)), num_samples=1).volume == pytest.approx(5.0)


def test_the_seed_decides_the_points():
    first, again, other = (measured(num_samples=3, seed=seed).frame for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first["weight_0"].equals(other["weight_0"])
    assert measured(num_samples=1, seed=7).seed == 7


def test_a_simplex_and_its_corners_are_measured_alike():
    simplex = Simplex(places(*CORNERS), space="factors", name="triangle")
    profile = evaluate_simplex(simplex, plane_model(bowl), [nothing()], num_samples=2)
    assert set(profile.frame["simplex"]) == {"triangle"}
    assert set(profile.frame["space"]) == {"factors"}
    np.testing.assert_allclose(profile.frame["loss"], measured(num_samples=2).frame["loss"], rtol=1e-5)


def test_an_edge_has_the_numbers_of_the_line(ends, model, tasks):
    profile = evaluate_simplex(ends, model, tasks, num_samples=3)
    samples = profile.frame.query("role == 'sample'").sort_values(["weight_1", "task"])
    positions = sorted(set(samples["weight_1"]))
    line = mc.evaluate_path(mc.LinearPath(*ends), model, tasks, t=[0, *positions, 1])
    inner = line.frame.query("0 < t < 1").sort_values(["t", "task"])
    np.testing.assert_allclose(samples["loss"], inner["loss"], rtol=1e-6)
    np.testing.assert_allclose(samples["score"], inner["score"])
    assert set(profile.checks["points_agree_with_peft_within"]) == {end.name for end in ends}


def test_progress_is_told_after_every_point():
    told = []
    measured(num_samples=4, progress=lambda done, total, what: told.append((done, total, what)))
    assert [done for done, *_ in told] == list(range(8))
    assert {total for _, total, _ in told} == {7}


def test_a_simplex_without_a_sample():
    message = r"(?s)at its corners only.*\n  expected: num_samples of at least 1\n  got: num_samples=0\n  remedy: "
    with pytest.raises(EvaluationError, match=message):
        measured(num_samples=0)


def test_corners_of_another_model():
    with pytest.raises(ModelError, match="does not fit the base model"):
        evaluate_simplex(places(*CORNERS), place_model(lambda at: at.sum(-1), dimension=3), [nothing()])
