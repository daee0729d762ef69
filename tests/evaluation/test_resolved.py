"""Paths resolved to a tolerance: evaluated as often as needed, never twice, and resumed where they were."""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from random_tasks import random_task
from scipy.integrate import quad
from tiny import make_adapter, make_base
from torch import nn

import modeconn as mc
from modeconn.evaluation.interpolant import Interpolant
from modeconn.evaluation.profile import Profile
from modeconn.evaluation.resolution import RESOLUTION_COLUMNS
from modeconn.models.module_model import ModuleModel, TensorTask, module_point
from modeconn.models.shares import alone
from modeconn.paths.chain import PolygonalChain

DENSE = np.linspace(0, 1, 2001)


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

    def evaluate(self, point, encoded, share=alone):
        self.seen.append(float(point.saved["t"][0]))
        return super().evaluate(point, encoded, share)


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


def test_the_table_has_both_means_of_the_loss():
    """A chain with a short and a long part: over its length the long one counts more."""
    points = [module_point(Position(t), name=f"at {t:g}") for t in (0.0, 0.2, 1.0)]
    chain = mc.PolygonalChain(points, name="chain")
    profile = mc.evaluate_path(chain, CountingModel(steep), TOYS, tolerance=1e-4)
    for task, row in zip(TOYS, profile.resolution.itertuples(), strict=True):
        halves = [quad(lambda x, task=task: exact(task, [x])[0], *part)[0] for part in ((0, 0.2), (0.2, 1))]
        assert row.mean_over_length == pytest.approx(sum(halves), abs=1e-4)
        assert row.mean_over_t == pytest.approx(halves[0] / 0.2 / 2 + halves[1] / 0.8 / 2, abs=1e-4)


def test_between_equal_ends_nothing_is_left_but_rounding():
    ends = [module_point(Position(0.4), name=name) for name in ("one", "same")]
    profile = mc.evaluate_path(mc.LinearPath(*ends), CountingModel(steep), TOYS, tolerance=0.0025)
    assert profile.resolution["resolved"].all()
    assert (profile.resolution["num_evaluations"] == 21).all()
    assert (profile.resolution["tolerance"] < profile.resolution["noise_floor"]).all()
    assert (profile.resolution["noise_floor"] < 1e-5).all()
    assert profile.resolution["mean_over_t"].to_numpy() == pytest.approx(profile.frame["loss"][:2].to_numpy())
    assert profile.resolution["mean_over_length"].isna().all()


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


def headed(root: Path, base: Path, name: str, labels: tuple[str, ...], *, seed: int) -> mc.Adapter:
    """A classifier's adapter that recorded the labels of its own head."""
    own = make_base(root / f"base-{name}", "bert", num_labels=len(labels))
    folder = make_adapter(root / name, own, "bert", seed=seed)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(base)}))
    (folder / "modeconn.json").write_text(json.dumps({"labels": list(labels)}))
    return mc.Adapter.from_pretrained(folder)


def test_tasks_with_heads_of_their_own_share_the_positions(bases, tmp_path):
    labels = {"three": ("good", "bad", "maybe"), "two": ("yes", "no")}
    ends = [headed(tmp_path, bases("bert"), *item, seed=seed) for seed, item in enumerate(labels.items())]
    line = mc.LinearPath(*ends, heads="own")
    model = mc.AdapterModel.from_pretrained(bases("bert"), adapters=line.points)
    tasks = [random_task(labels=own, name=name) for name, own in labels.items()]
    profile = mc.evaluate_path(line, model, tasks, tolerance=0.01)
    assert list(profile.resolution["task"]) == ["three", "two"]
    assert profile.resolution["resolved"].all()
    first, second = (set(profile.frame.query("task == @name")["t"]) for name in labels)
    assert first == second
    assert len(first) == profile.resolution["num_evaluations"][0]
