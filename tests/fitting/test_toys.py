"""Fits whose answer is known: a bowl keeps the line, a ring is gone around."""

import numpy as np
import pytest
import torch
from fit_toys import half_circle, nothing, place_of, places, plane_model, ring
from scipy.integrate import quad
from scipy.optimize import minimize_scalar

import modeconn as mc
from modeconn.fitting import fit_curve


def test_a_bowl_keeps_the_line():
    model = plane_model(lambda outputs, _: outputs.square().sum(1))
    a, b = places((-1.0, 0.0), (1.0, 0.0))
    fit = fit_curve(mc.BezierCurve.between(a, b), model, [nothing()], num_steps=200, learning_rate=0.01, eval_points=9)
    # The best bend of E_t |path(t)|^2 with these ends is 0 by symmetry: the line.
    torch.testing.assert_close(place_of(fit.curve.points[1]), torch.zeros(2), atol=0.02, rtol=0)


@pytest.mark.parametrize("space", ["weights", "factors"])
def test_a_ring_is_gone_around(space):
    model, curve = plane_model(ring), half_circle(space=space)
    fit = fit_curve(
        curve, model, [nothing()], num_steps=250, learning_rate=0.05, positions_per_step=8, eval_points=21, seed=1
    )

    def expected_loss(height):
        def loss(t):
            return (np.hypot(2 * t - 1, 2 * t * (1 - t) * height) - 1) ** 2

        return quad(loss, 0, 1)[0]

    best = minimize_scalar(expected_loss, bounds=(0.1, 4), method="bounded").x
    found = place_of(fit.curve.points[1])
    assert abs(float(found[0])) < 0.05
    assert abs(float(found[1]) - best) < 0.1
    profile = mc.evaluate_path(fit.curve, model, [nothing()], num_points=21)
    line = mc.evaluate_path(mc.LinearPath(curve.start, curve.end), model, [nothing()], num_points=21)
    assert line.barriers("loss")["barrier"].max() == pytest.approx(1.0)
    assert profile.barriers("loss")["barrier"].max() < 0.1
