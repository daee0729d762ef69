"""Learning rates and positions as functions of the step."""

import numpy as np
import pytest
import torch
from dense_curves import dense_points, make_points
from fit_toys import half_circle, places
from scipy.stats import kstest

import modeconn as mc
from modeconn.fitting import FitSettings
from modeconn.fitting.schedule import generator_of, learning_rate, positions


def drawn(steps, **settings):
    chosen = FitSettings(**settings)
    return np.array([positions(chosen, half_circle, step) for step in range(steps)])  # [steps, n]


def test_the_published_schedule_is_constant_then_linear_then_a_hundredth():
    settings = FitSettings(num_steps=1000, learning_rate=0.5)
    rates = np.array([learning_rate(settings, step) for step in range(1000)])
    done = np.arange(1000) / 1000
    expected = np.interp(done, [0.0, 0.5, 0.9, 1.0], [0.5, 0.5, 0.005, 0.005])
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


def test_the_schedule_of_autoneb_has_three_levels():
    settings = FitSettings(num_steps=70, learning_rate=1.0, schedule="draxler")
    assert [learning_rate(settings, step) for step in (0, 29, 30, 49, 50, 69)] == [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]


def test_a_constant_rate_is_constant():
    settings = FitSettings(num_steps=10, learning_rate=0.3, schedule="constant")
    assert {learning_rate(settings, step) for step in range(10)} == {0.3}


def test_positions_are_uniform():
    assert kstest(drawn(2000).reshape(-1), "uniform").pvalue > 0.01


def test_each_of_several_positions_lies_in_its_own_part():
    found = drawn(200, positions_per_step=5)
    np.testing.assert_array_equal(np.floor(found * 5), np.tile(np.arange(5), (200, 1)))
    assert kstest((found * 5 % 1).reshape(-1), "uniform").pvalue > 0.01


def test_positions_depend_on_seed_and_step_and_on_nothing_else():
    torch.manual_seed(0)
    first = drawn(5)
    torch.manual_seed(1)
    np.testing.assert_array_equal(first, drawn(5))
    assert len(np.unique(np.concatenate([first, drawn(5, seed=1)]))) == 10


def test_positions_that_are_uniform_in_arc_length_are_parts_of_the_length():
    a, bend, b = places((0.0, 0.0), (0.0, 0.0), (1.0, 0.0))  # path(t) = t^2: the speed is 2 t
    curve = mc.BezierCurve([a, bend, b])
    even = FitSettings(positions_per_step=4)
    by_length = FitSettings(positions_per_step=4, uniform_in="arc-length")
    for step in range(20):
        parts = np.array(positions(even, lambda: curve, step))
        found = np.array(positions(by_length, lambda: curve, step))
        np.testing.assert_allclose(found, np.sqrt(parts), rtol=0, atol=1e-10)


@pytest.mark.parametrize("space", ["weights", "factors", "aligned-factors"])
def test_in_every_space_the_length_before_a_position_is_its_part_of_the_whole(space):
    curve = mc.BezierCurve(make_points(4), space=space)
    settings = FitSettings(positions_per_step=5, uniform_in="arc-length")
    found = positions(settings, lambda: curve, 0)
    parts = positions(FitSettings(positions_per_step=5), lambda: curve, 0)
    dense = dense_points(4) if space == "weights" else torch.stack([point.vector.double() for point in curve.points])
    part, nodes = np.polynomial.legendre.leggauss(200)

    def before(t):
        at = torch.from_numpy(t * (part + 1) / 2)
        return float(((curve.derivative(at) @ dense).norm(dim=1) * torch.from_numpy(nodes)).sum()) * t / 2

    np.testing.assert_allclose([before(t) / before(1.0) for t in found], parts, rtol=0, atol=1e-7)


def test_generators_of_different_numbers_differ():
    numbers = [(0,), (1,), (0, 0), (0, 1), (1, 0)]
    first = {float(torch.rand(1, generator=generator_of(seed, *rest))) for seed in (0, 1) for rest in numbers}
    assert len(first) == 10


@pytest.mark.parametrize("space", ["weights", "factors"])
def test_a_curve_without_length_has_even_positions(space):
    settings = FitSettings(uniform_in="arc-length")
    still = mc.BezierCurve(places((1.0, 0.0), (1.0, 0.0), (1.0, 0.0)), space=space)
    assert positions(settings, lambda: still, 3) == positions(FitSettings(), lambda: still, 3)
