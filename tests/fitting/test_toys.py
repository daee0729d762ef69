"""Fits whose answer is known: a bowl, a ring, and the gradient of a bend by finite differences."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from torch import nn

import modeconn as mc
from modeconn.fitting import fit_curve
from modeconn.models.module_model import ModuleModel, TensorTask, module_point
from modeconn.paths.bezier import BezierCurve
from modeconn.paths.chain import PolygonalChain


class Place(nn.Module):
    """A point of the plane; every input gives the point itself."""

    def __init__(self, x=0.0, y=0.0):
        super().__init__()
        self.place = nn.Parameter(torch.tensor([x, y]))

    def forward(self, inputs):
        return self.place.expand(len(inputs), 2)


def plane_model(loss):
    return ModuleModel(Place(), loss, score=lambda outputs, _: torch.zeros(len(outputs)))


def points(*places):
    return [module_point(Place(*place), name=f"p{number}") for number, place in enumerate(places)]


def nothing(size=4):
    """A task of inputs that do not matter."""
    pair = torch.zeros(size, 1), torch.zeros(size)
    return TensorTask("toy", dict.fromkeys(("train", "eval", "test"), pair), metric="nothing")


def ring(outputs, _):
    return (outputs.norm(dim=1) - 1) ** 2


def test_a_bowl_keeps_the_line():
    model = plane_model(lambda outputs, _: (outputs - torch.tensor([0.0, 0.0])).square().sum(1))
    a, b = points((-1.0, 0.0), (1.0, 0.0))
    fit = fit_curve(BezierCurve.between(a, b), model, [nothing()], num_steps=200, learning_rate=0.01, eval_points=9)
    bend = fit.curve.points[1].saved["place"]
    # The best bend of E_t |path(t)|^2 with these ends is 0 by symmetry: the line.
    torch.testing.assert_close(bend, torch.zeros(2), atol=0.02, rtol=0)


@pytest.mark.parametrize("space", ["weights", "factors"])
def test_a_ring_is_gone_around(space):
    model = plane_model(ring)
    a, b, up = points((-1.0, 0.0), (1.0, 0.0), (0.0, 0.3))
    curve = BezierCurve([a, up, b], space=space)
    fit = fit_curve(
        curve, model, [nothing()], num_steps=600, learning_rate=0.03, positions_per_step=8, eval_points=21, seed=1
    )

    def expected_loss(height):
        def loss(t):
            return (np.hypot(2 * t - 1, 2 * t * (1 - t) * height) - 1) ** 2

        return quad(loss, 0, 1)[0]

    best = minimize_scalar(expected_loss, bounds=(0.1, 4), method="bounded").x
    found = fit.curve.points[1].saved["place"]
    assert abs(float(found[0])) < 0.05
    assert abs(float(found[1]) - best) < 0.1
    profile = mc.evaluate_path(fit.curve, model, [nothing()], num_points=21)
    line = mc.evaluate_path(mc.LinearPath(a, b), model, [nothing()], num_points=21)
    assert line.barriers("loss")["barrier"].max() == pytest.approx(1.0)
    assert profile.barriers("loss")["barrier"].max() < 0.1


def test_the_ends_are_bit_unchanged_and_the_model_too():
    model = plane_model(ring)
    a, b, up = points((-1.0, 0.0), (1.0, 0.0), (0.0, 0.3))
    before = [point.saved["place"].clone() for point in (a, b)]
    place = model.module.place
    fit = fit_curve(PolygonalChain([a, up, b]), model, [nothing()], num_steps=5)
    assert fit.curve.start is a
    assert fit.curve.end is b
    assert all(torch.equal(x.saved["place"], y) for x, y in zip((a, b), before, strict=True))
    assert model.module.place is place
    assert torch.equal(place, torch.zeros(2))
    assert not torch.equal(fit.curve.points[1].saved["place"], up.saved["place"])
