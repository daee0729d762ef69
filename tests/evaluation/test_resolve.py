"""Functions resolved to a tolerance: how many values, how exact, and what is said where they are not."""

import numpy as np
import pytest

import modeconn as mc
from modeconn.evaluation.resolve import MAX_DEGREE, Target, resolve

DENSE = np.linspace(0, 1, 2001)
MOST = MAX_DEGREE + 1 + 4  # nodes and probes


def measured(*functions):
    """A measure of functions of t, and the positions that it was asked for."""
    asked = []

    def measure(positions):
        asked.extend(positions)
        assert list(positions) == sorted(set(positions))
        return {t: np.array([function(t) for function in functions]) for t in positions}

    return measure, asked


def error_of(curve, function):
    """The largest difference on a dense grid."""
    return np.abs(curve(DENSE) - np.array([function(t) for t in DENSE])).max()


def bump(t, place, width):
    """A Gaussian on a slow wave, `[T] -> [T]`."""
    return np.exp(-(((np.array(t) - place) / width) ** 2) / 2) + 0.2 * np.sin(3 * np.array(t))


ANALYTIC = {
    "parabola": (lambda t: 4 * t * (1 - t), 21),
    "half a wave": (lambda t: np.sin(np.pi * t), 21),
    "two waves": (lambda t: np.sin(4 * np.pi * t), 21),
    "soft plateau": (lambda t: np.tanh(6 * (t - 0.4)), 21),
    "hard plateau": (lambda t: np.tanh(20 * (t - 0.4)), 69),
    "Runge": (lambda t: 1 / (1 + 25 * (2 * t - 1) ** 2), 69),
    "crossed entropies": (lambda t: np.logaddexp(0, 10 - 24 * t) + np.logaddexp(0, 18 * t - 8), 37),
}


@pytest.mark.parametrize("name", ANALYTIC)
def test_smooth_profiles_are_resolved_with_the_promised_counts(name):
    function, count = ANALYTIC[name]
    measure, asked = measured(function)
    found = resolve(measure, Target(0.0025))
    assert found.resolved[0]
    assert len(asked) == found.num_evaluations == count
    assert error_of(found.curves[0], function) <= found.tolerance[0]
    assert found.error_estimate[0] <= found.tolerance[0]


@pytest.mark.parametrize("width", [0.01, 0.02])
def test_a_narrow_bump_is_resolved_or_said_not_to_be_wherever_it_is(width):
    for place in np.linspace(0.03, 0.97, 95):
        found = resolve(lambda t, at=place: dict(zip(t, bump(t, at, width)[:, None], strict=True)), Target(0.0025))
        away = np.abs(found.curves[0](DENSE) - bump(DENSE, place, width)).max()
        assert away <= found.tolerance[0] or not found.resolved[0]


def test_the_tolerance_is_a_share_of_the_range_in_nats():
    measure, _ = measured(lambda t: 3 + 2 * t, lambda t: 5 * np.sin(np.pi * t))
    np.testing.assert_allclose(resolve(measure, Target(0.01)).tolerance, [0.02, 0.05])
    np.testing.assert_allclose(resolve(measure, Target(0.01, 0.04)).tolerance, [0.04, 0.05])
    np.testing.assert_allclose(resolve(measure, Target(None, 0.04)).tolerance, [0.04, 0.04])


@pytest.mark.parametrize("rate", [1.2, 1.5, 2.0])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-6])
def test_a_geometric_fall_takes_the_first_degree_that_is_enough(rate, tolerance):
    # 1 / (p - x) on [-1, 1] has coefficients 2 r^-k / sqrt(p^2 - 1) with p = (r + 1 / r) / 2; the interpolant of degree
    # n leaves out 2 sum_j a_(n+j) sin(j x) sin(n x), which is at most a_n / sinh(log r).
    pole = (rate + 1 / rate) / 2

    def function(t):
        return 1 / (pole - (2 * t - 1))

    left_out = {n: 2 * rate**-n / np.sqrt(pole**2 - 1) / np.sinh(np.log(rate)) for n in (16, 32, 64, 128)}
    allowed = tolerance * (function(1.0) - function(0.0))
    # Twice what is seen has to be allowed, and less than all is seen: somewhere between one and four times.
    bounds = [next(n for n, error in left_out.items() if times * error <= allowed) for times in (0.5, 4)]
    found = resolve(measured(function)[0], Target(tolerance))
    assert found.resolved[0]
    assert bounds[0] <= found.curves[0].degree <= bounds[1]
    assert error_of(found.curves[0], function) <= allowed


def test_all_tasks_are_resolved_at_the_same_positions():
    easy, hard = (lambda t: t * t), (lambda t: np.tanh(20 * (t - 0.4)))
    found = resolve(measured(easy, hard)[0], Target(0.0025))
    assert found.resolved.all()
    assert found.num_evaluations == 69
    assert error_of(found.curves[0], easy) < 1e-14


def test_a_kink_at_a_joint_costs_nothing_and_anywhere_else_is_admitted():
    def kinked(t):
        return abs(t - 0.3)

    at_joint = resolve(measured(kinked)[0], Target(0.0025), joints=(0.3,))
    assert at_joint.resolved[0]
    assert at_joint.num_evaluations == 25
    assert error_of(at_joint.curves[0], kinked) < 1e-14
    elsewhere = resolve(measured(kinked)[0], Target(1e-4))
    assert not elsewhere.resolved[0]
    assert elsewhere.num_evaluations == MOST


def test_only_the_piece_that_needs_it_is_refined():
    def half(t):
        return np.sin(40 * t) if t < 0.5 else np.sin(20.0)

    measure, asked = measured(half)
    found = resolve(measure, Target(1e-4), joints=(0.5,))
    assert found.resolved[0]
    assert sum(t > 0.5 for t in asked) == 12
    assert [len(piece.coef) - 1 for piece in found.curves[0].pieces] == [32, 8]
    assert error_of(found.curves[0], half) <= found.tolerance[0]


def test_noise_is_never_called_resolved_unless_it_is_known():
    noise = np.random.default_rng(0)

    def noisy(t):
        return np.sin(3 * t) + 0.01 * noise.normal()

    unknown = resolve(measured(noisy)[0], Target(0.0025))
    assert not unknown.resolved[0]
    assert unknown.num_evaluations == MOST
    assert 0.01 < unknown.error_estimate[0] < 0.2
    known = resolve(measured(noisy)[0], Target(0.0025, noise=np.array([0.01])))
    assert known.resolved[0]
    assert known.num_evaluations == 21
    assert known.noise_floor[0] > known.error_estimate[0] > known.tolerance[0]


def test_a_constant_profile_is_resolved_at_once():
    found = resolve(measured(lambda t: 0.1 + 0.2 + 0 * t)[0], Target(0.0025, noise=np.array([1e-8])))
    assert found.resolved[0]
    assert found.num_evaluations == 21


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_profile_with_holes_is_refused(bad):
    measure, _ = measured(lambda t: bad if t == 0.5 else t)
    with pytest.raises(mc.EvaluationError, match=r"(?s)with holes.*infinite at t = 0.5.*remedy: find the examples"):
        resolve(measure, Target())


@pytest.mark.parametrize(
    ("tolerances", "message"),
    [
        ((0.0, None), r"(?s)resolved to tolerance=0.0.*between 0 and 1.*tolerance=0.0025.*num_points"),
        ((1.0, None), r"(?s)resolved to tolerance=1.0.*between 0 and 1"),
        ((float("nan"), None), r"(?s)resolved to tolerance=nan"),
        ((None, -0.1), r"(?s)resolved to absolute_tolerance=-0.1.*nats, above 0"),
        ((0.1, float("inf")), r"(?s)resolved to absolute_tolerance=inf"),
    ],
)
def test_bad_tolerances(tolerances, message):
    with pytest.raises(mc.EvaluationError, match=message):
        Target(*tolerances)
