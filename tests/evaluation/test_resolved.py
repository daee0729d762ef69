"""Profiles resolved to a tolerance: how many evaluations, how exact, and what is said where they are not."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import modeconn as mc
from modeconn.evaluation.interpolant import Interpolant
from modeconn.evaluation.profile import Profile
from modeconn.evaluation.resolution import RESOLUTION_COLUMNS
from modeconn.evaluation.resolve import MAX_DEGREE, Target, resolve
from modeconn.models.module_model import ModuleModel, TensorTask, module_point
from modeconn.paths.chain import PolygonalChain

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


ANALYTIC = {
    "parabola": (lambda t: 4 * t * (1 - t), 13),
    "half a wave": (lambda t: np.sin(np.pi * t), 13),
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

    left_out = {n: 2 * rate**-n / np.sqrt(pole**2 - 1) / np.sinh(np.log(rate)) for n in (8, 16, 32, 64, 128)}
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
    assert at_joint.num_evaluations == 17
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
    assert sum(t > 0.5 for t in asked) == 8
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
    assert known.num_evaluations == 13
    assert known.noise_floor[0] > known.error_estimate[0] > known.tolerance[0]


def test_a_constant_profile_is_resolved_at_once():
    found = resolve(measured(lambda t: 0.1 + 0.2 + 0 * t)[0], Target(0.0025, noise=np.array([1e-8])))
    assert found.resolved[0]
    assert found.num_evaluations == 13


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


class Position(nn.Module):
    """A point on the line; every input gives the point itself."""

    def __init__(self, t=0.0):
        super().__init__()
        self.t = nn.Parameter(torch.tensor([t]))

    def forward(self, inputs):
        return self.t.expand(len(inputs))


class CountingModel(ModuleModel):
    """Knows the positions at which it was evaluated."""

    def __init__(self, loss):
        super().__init__(Position(), loss, score=lambda outputs, _: (outputs > 0.5).double())
        self.seen = []

    def evaluate(self, point, encoded):
        self.seen.append(float(point.saved["t"][0]))
        return super().evaluate(point, encoded)


class MemoryStore(dict):
    """Keeps records in memory."""

    def load(self, key):
        return self.get(key)

    def save(self, key, records):
        assert key not in self
        self[key] = records


def toy(name, shift):
    """A task whose examples differ in where their loss rises."""
    return TensorTask(name, {"test": (torch.zeros(10, 1), shift + torch.linspace(-0.1, 0.1, 10))})


def steep(outputs, targets):
    """A smooth step up and a slow way down."""
    return torch.sigmoid(9 * (outputs.double() - targets)) - 0.2 * outputs.double() ** 2 + 1


LINE = mc.LinearPath(*(module_point(Position(t), name=f"at {t:g}") for t in (0.0, 1.0)), name="line")
TOYS = [toy("early", 0.3), toy("late", 0.6)]


def exact(task, t):
    """The mean loss of a toy task, `[T] -> [T]`."""
    targets = task.splits["test"][1].double()
    return steep(torch.as_tensor(t, dtype=torch.float64)[:, None], targets[None]).mean(1).numpy()


def test_a_path_is_evaluated_as_often_as_needed_and_nowhere_twice():
    model, store = CountingModel(steep), MemoryStore()
    profile = mc.evaluate_path(LINE, model, TOYS, tolerance=0.0025, store=store)
    resolution = profile.resolution
    assert tuple(resolution.columns) == RESOLUTION_COLUMNS
    assert resolution["resolved"].all()
    assert list(resolution["num_evaluations"].unique()) == [len(model.seen)] == [len(store)] == [21]
    assert len(set(model.seen)) == 21
    assert list(profile.frame["t"].unique()) == sorted(profile.frame["t"].unique())
    for task, own in zip(TOYS, resolution.itertuples(), strict=True):
        away = np.abs(profile.curve(task.name)(DENSE) - exact(task, DENSE)).max()
        assert away < own.tolerance == pytest.approx(0.0025 * np.ptp(exact(task, DENSE)), rel=0.02)


def test_the_curve_goes_through_the_table():
    profile = mc.evaluate_path(LINE, CountingModel(steep), TOYS, tolerance=0.0025)
    for task in TOYS:
        own = profile.frame.query("task == @task.name")
        away = np.abs(profile.curve(task.name)(own["t"].to_numpy()) - own["loss"].to_numpy())
        assert (away < 1e-14).sum() == 17
        assert (away < profile.resolution["tolerance"].max()).all()


def test_a_resolved_barrier_is_that_between_the_positions():
    profile = mc.evaluate_path(LINE, CountingModel(steep), TOYS, tolerance=1e-5)
    barriers = profile.barriers()
    for task, baseline in itertools.product(TOYS, ("chord", "mean")):
        row = barriers.query("task == @task.name and baseline == @baseline").iloc[0]
        expected = mc.barrier(DENSE, exact(task, DENSE), baseline=baseline)
        assert row["barrier"] == pytest.approx(expected.height, abs=1e-5)
        assert row["t_at_max"] == pytest.approx(expected.t, abs=1e-3)
        assert row["num_points"] == profile.resolution["num_evaluations"][0]
    at_positions = mc.barrier(*profile.frame.query("task == 'early'")[["t", "loss"]].to_numpy().T)
    assert barriers["barrier"][0] > at_positions.height


def test_scores_are_taken_at_positions():
    profile = mc.evaluate_path(LINE, CountingModel(steep), TOYS[:1], tolerance=0.0025)
    own = profile.frame
    expected = mc.barrier(own["t"].to_numpy(), 1 - own["score"].to_numpy())
    assert profile.barriers("score")["barrier"][0] == expected.height
    assert profile.barriers("score")["t_at_max"][0] == expected.t


def test_an_interrupted_evaluation_ends_as_a_straight_one():
    store, model = MemoryStore(), CountingModel(steep)
    straight = mc.evaluate_path(LINE, model, TOYS, tolerance=0.0025, store=store)
    half = MemoryStore(itertools.islice(store.items(), 11))
    again = CountingModel(steep)
    resumed = mc.evaluate_path(LINE, again, TOYS, tolerance=0.0025, store=half)
    assert again.seen == model.seen[11:]
    pd.testing.assert_frame_equal(straight.frame, resumed.frame, check_exact=True)
    pd.testing.assert_frame_equal(straight.resolution, resumed.resolution, check_exact=True)


def test_an_exacter_evaluation_takes_over_what_is_there():
    store, rough, fine = MemoryStore(), CountingModel(steep), CountingModel(steep)
    mc.evaluate_path(LINE, rough, TOYS, tolerance=0.0025, store=store)
    profile = mc.evaluate_path(LINE, fine, TOYS, tolerance=1e-5, store=store)
    assert not set(rough.seen) & set(fine.seen)
    assert profile.resolution["num_evaluations"][0] == len(rough.seen) + len(fine.seen)


def test_a_chain_is_resolved_between_its_joints():
    there = [module_point(Position(t), name=f"at {t:g}") for t in (0.0, 1.0, 0.2)]
    chain = PolygonalChain(there, name="there and back")
    profile = mc.evaluate_path(chain, CountingModel(steep), TOYS, tolerance=0.0025)
    assert profile.resolution["resolved"].all()
    assert list(profile.resolution["num_pieces"]) == [2, 2]
    place = np.where(DENSE <= 0.5, 2 * DENSE, 1 - 1.6 * (DENSE - 0.5))
    for task in TOYS:
        curve = profile.curve(task.name)
        away = np.abs(curve(DENSE) - exact(task, place)).max()
        assert curve.joints == (0.5,)
        assert away < profile.resolution["tolerance"].min()


def test_progress_ends_at_what_was_needed():
    told = []
    profile = mc.evaluate_path(
        LINE, CountingModel(steep), TOYS, tolerance=0.0025, progress=lambda *call: told.append(call)
    )
    count = profile.resolution["num_evaluations"][0]
    assert told[-1] == (count, count, "line")
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert all(done <= total for done, total, _ in told)


def test_nan_losses_stop_the_evaluation():
    def broken(outputs, targets):
        return torch.where(outputs > 0.9, torch.nan, steep(outputs, targets))

    with pytest.raises(
        mc.EvaluationError, match=r"(?s)early/test at t=.*not finite.*10 NaN or infinite, at examples 0"
    ):
        mc.evaluate_path(LINE, CountingModel(broken), TOYS, tolerance=0.0025, check=False)


def test_positions_and_a_tolerance_exclude_each_other():
    with pytest.raises(mc.EvaluationError, match=r"(?s)asked for in two ways.*leave out t"):
        mc.evaluate_path(LINE, CountingModel(steep), TOYS, t=[0, 1], tolerance=0.01)


def test_a_curve_has_to_be_named():
    given = mc.evaluate_path(LINE, CountingModel(steep), TOYS, num_points=2)
    assert given.resolution is None
    with pytest.raises(mc.EvaluationError, match=r"(?s)no single curve of 'early'.*given positions.*tolerance=0.0025"):
        given.curve("early")
    other = mc.LinearPath(*LINE.points, name="other")
    both = Profile.concat(
        [given_name(path) for path in (LINE, other)]
        + [mc.evaluate_path(mc.LinearPath(*LINE.points, name="grid"), CountingModel(steep), TOYS, num_points=2)]
    )
    assert list(both.resolution["path"]) == ["line", "line", "other", "other"]
    assert isinstance(both.curve("late", path="other"), Interpolant)
    for request in ({"task": "late"}, {"task": "never"}, {"task": "late", "path": "grid"}):
        with pytest.raises(mc.EvaluationError, match=r"(?s)no single curve.*early on line, .*late on other"):
            both.curve(**request)


def given_name(path):
    """The resolved profile of a path."""
    return mc.evaluate_path(path, CountingModel(steep), TOYS, tolerance=0.01)


def test_a_real_model_agrees_between_the_nodes(ends, model, tasks):
    line = mc.LinearPath(*ends)
    profile = mc.evaluate_path(line, model, tasks, tolerance=0.0025)
    assert profile.resolution["resolved"].all()
    positions = [0.0, *np.random.default_rng(0).uniform(size=20).round(6), 1.0]
    elsewhere = mc.evaluate_path(line, model, tasks, t=sorted(positions), check=False)
    for own in profile.resolution.itertuples():
        rows = elsewhere.frame.query("task == @own.task")
        away = np.abs(profile.curve(own.task)(rows["t"].to_numpy()) - rows["loss"].to_numpy()).max()
        assert away <= own.tolerance
