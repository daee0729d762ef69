import numpy as np
import pytest
from scipy.interpolate import BarycentricInterpolator

from modeconn.evaluation.between_nodes import integral_weights, interpolated
from modeconn.evaluation.chebyshev import nodes, through
from modeconn.evaluation.interpolant import Interpolant

LEFT, RIGHT = np.array(nodes(4, 0.0, 0.3)), np.array(nodes(8, 0.3, 1.0))
PROBES = [0.01, 0.5]  # measured, but no nodes
T = np.unique([*LEFT, *RIGHT, *PROBES])
LOSSES = np.random.default_rng(0).normal(size=(5, len(T)))
AT_LEFT, AT_RIGHT = (LOSSES[:, np.isin(T, own)] for own in (LEFT, RIGHT))
CURVE = Interpolant([through(AT_LEFT.mean(axis=0), 0.0, 0.3), through(AT_RIGHT.mean(axis=0), 0.3, 1.0)])


def test_every_example_has_the_polynomial_through_its_own_losses() -> None:
    fine = np.array([0, 0.01, 0.2, 0.3, 0.31, 0.5, 0.99, 1])
    found = interpolated(CURVE, T, LOSSES, fine)
    left = BarycentricInterpolator(LEFT, AT_LEFT.T)(fine[:4]).T
    right = BarycentricInterpolator(RIGHT, AT_RIGHT.T)(fine[3:]).T
    np.testing.assert_allclose(found, np.hstack([left[:, :3], right]), atol=1e-12)


def test_their_mean_is_the_curve() -> None:
    fine = np.linspace(0, 1, 101)
    np.testing.assert_allclose(interpolated(CURVE, T, LOSSES, fine).mean(axis=0), CURVE(fine), atol=1e-12)


def test_the_weights_of_the_integral_are_the_curves() -> None:
    weights = integral_weights(CURVE, T)
    assert weights @ LOSSES.mean(axis=0) == pytest.approx(CURVE.integral(), abs=1e-13)
    assert weights.sum() == pytest.approx(1)
    assert (weights[np.isin(T, PROBES)] == 0).all()
