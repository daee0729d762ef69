"""What a fit measures on its validation split: at which positions, of which rows, by which tokens."""

import numpy as np
import pytest
import torch
from fit_toys import nothing, places, plane_model
from numpy.polynomial.chebyshev import chebpts1

import modeconn as mc
from modeconn.fitting import FitSettings, fit_curve
from modeconn.fitting.objective import Objective
from modeconn.fitting.validation import highest, mean_and_barrier, mean_weights, validation_positions

NESTED = (" yes", " yes no")  # one label begins the other


@pytest.mark.parametrize("count", [1, 2, 5, 16])
def test_the_positions_are_chebyshev_nodes(count):
    np.testing.assert_allclose(validation_positions(count), (chebpts1(count) + 1) / 2, atol=1e-14)


def test_five_positions_come_near_both_ends():
    positions = validation_positions(FitSettings().eval_points)
    assert len(positions) == 5
    assert 0 < positions[0] < 0.025
    assert 0.975 < positions[-1] < 1


def test_a_wall_beside_an_end_is_seen():
    """Evenly spaced positions would begin at 1/6, behind it."""
    model = plane_model(lambda outputs, _: torch.exp(-(((outputs[:, 0] + 0.94) / 0.05) ** 2)))
    a, b = places((-1.0, 0.0), (1.0, 0.0))
    fit = fit_curve(mc.BezierCurve.between(a, b), model, [nothing()], num_steps=1, learning_rate=1e-9)
    first = fit.history.iloc[0]
    assert first["worst_loss"] > 0.8
    assert first["worst_t"] < 0.05
    assert first["worst_of"] == 5


def test_the_worst_is_told_with_how_many_there_were():
    found = highest([0.1, 0.4, 0.9], np.array([1.0, 3.0, 2.0]))
    assert found == {"worst_loss": 3.0, "worst_t": 0.4, "worst_of": 3}


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_the_mean_over_t_is_exact_for_polynomials(count):
    t = np.array(validation_positions(count))
    for degree in range(count):
        assert mean_weights(count) @ t**degree == pytest.approx(1 / (degree + 1), abs=1e-14)
    assert (mean_weights(count) > 0).all()


def test_what_lies_above_the_chord_is_added_to_the_mean():
    t, ends = [0.25, 0.5, 0.75], np.array([4.0, 0.0])  # a chord of 3, 2 and 1
    weights = mean_weights(3)
    below = mean_and_barrier(t, np.array([2.0, 1.0, 0.5]), ends)
    assert below == pytest.approx(
        {"mean_loss": weights @ [2, 1, 0.5], "above_chord": -0.5, "objective": weights @ [2, 1, 0.5]}
    )
    wall = mean_and_barrier(t, np.array([2.0, 1.0, 3.5]), ends)
    assert wall["above_chord"] == 2.5
    assert wall["objective"] == pytest.approx(weights @ [2, 1, 3.5] + 2.5)


def test_beside_a_bad_end_the_worst_says_nothing_and_the_objective_does():
    """A ring, from a far end to one on it: by the worst position the curve through the wall is the better one."""
    a, b, through, around = places((-3.0, 0.0), (1.0, 0.0), (1.0, 0.0), (0.0, 1.5))
    model = plane_model(lambda outputs, _: (outputs.norm(dim=1) - 1) ** 2)
    curves = [mc.BezierCurve([a, bend, b]) for bend in (through, around)]
    validation = Objective(curves[0], model, [nothing()], FitSettings(num_steps=1)).validation
    wall, free = (validation.measured(curve, step=0) for curve in curves)
    assert {wall["worst_t"], free["worst_t"]} == {validation.positions[0]}
    assert wall["worst_loss"] < free["worst_loss"]
    assert free["objective"] < wall["objective"]


def objective(ends_and_model, task, **settings):
    ends, model = ends_and_model("llama")
    curve = mc.BezierCurve.between(*ends)
    return curve, model, Objective(curve, model, [task], FitSettings(num_steps=1, **settings))


def labelled(labels, count=6):
    records = [{"prompt": f"the cat {'sat ' * (1 + i % 3)}", "answer": labels[i % 2]} for i in range(count)]
    splits = {"train": records, "eval": records[:4], "test": records}
    return mc.Task.from_records("labelled", splits, labels=labels)


@pytest.mark.parametrize(
    ("labels", "end"), [((" yes", " no"), False), ((" yes", " no"), True), (NESTED, True)]
)  # without the end of the answer, an evaluation cannot tell nested labels apart
def test_the_loss_is_that_of_an_evaluation(labels, end, ends_and_model):
    task = labelled(labels)
    curve, model, made = objective(ends_and_model, task, eval_score_eos=end)
    encoding = mc.EncodingSettings(score_eos=end)
    profile = mc.evaluate_path(curve, model, [task], split="eval", t=[0, 0.5, 1], settings=encoding)
    expected = profile.frame.set_index("t")["loss"][0.5]
    assert made.validation.losses(curve, [0.5], step=0)[0] == pytest.approx(expected, rel=1e-6)


def test_only_the_rows_of_the_answers_are_read(ends_and_model):
    _, _, made = objective(ends_and_model, labelled((" yes", " no")))
    (encoded,) = made.validation.encoded
    assert len(encoded.rows.rows) == encoded.num_examples == 4


def test_labels_of_which_one_begins_another_can_be_fitted(ends_and_model):
    ends, model = ends_and_model("llama")
    fit = fit_curve(mc.BezierCurve.between(*ends), model, [labelled(NESTED)], num_steps=2, eval_points=1)
    assert fit.history["worst_loss"].notna().sum() == 2
