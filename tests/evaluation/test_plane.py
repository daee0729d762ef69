"""Planes on landscapes that are formulas, and on a tiny language model."""

import numpy as np
import pandas as pd
import pytest
import torch
from places import MemoryStore, no_task, place_model, places

import modeconn as mc
from modeconn.evaluation.plane import evaluate_plane
from modeconn.evaluation.surface import POINT_COLUMNS, SURFACE_COLUMNS
from modeconn.paths.plane import Plane


def valley(place):
    """Depends on all three coordinates."""
    return place[:, 0] ** 2 + (place[:, 1] - 1).abs() + 5 * place[:, 2] ** 2


@pytest.fixture
def model():
    return place_model(valley, dimension=3)


@pytest.fixture
def plane():
    """The floor of the space: x and y of the plane are the places' own."""
    return Plane.through(places((0.0, 0.0, 0.0), (2.0, 0.0, 0.0), (1.0, 2.0, 0.0)))


def test_the_table_holds_the_landscape(plane, model):
    frame = evaluate_plane(plane, model, [no_task()], num_points=5).frame
    assert tuple(frame.columns) == (*SURFACE_COLUMNS, "coefficient_0", "coefficient_1", "coefficient_2")
    assert len(frame) == 25
    place = torch.tensor(frame[["x", "y"]].assign(z=0.0).to_numpy())
    np.testing.assert_allclose(frame["loss"], valley(place), atol=1e-6)
    np.testing.assert_array_equal(frame["score"], (frame["x"] > 1e-9).astype(float))
    assert set(frame["surface"]) == {"plane through p0, p1, p2"}


def test_the_grid_covers_the_corners_with_a_margin(plane, model):
    frame = evaluate_plane(plane, model, [no_task()], num_points=3, margin=0.25).frame
    assert sorted(frame["x"].unique()) == pytest.approx([-0.5, 1, 2.5])
    assert sorted(frame["y"].unique()) == pytest.approx([-0.5, 1, 2.5])


def test_the_coefficients_make_the_place(plane, model):
    frame = evaluate_plane(plane, model, [no_task()], num_points=3).frame
    weights = frame[[f"coefficient_{k}" for k in range(3)]].to_numpy()
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-12)
    corners = np.array([[0, 0], [2, 0], [1, 2]])
    np.testing.assert_allclose(weights @ corners, frame[["x", "y"]], atol=1e-12)


def test_points_and_a_path_are_projected_with_their_distance(plane, model):
    above, far = places((0.5, 0.5, 2.0), (4.0, 1.0, -1.0))
    line = mc.LinearPath(plane.path.points[0], far, name="way")
    found = evaluate_plane(plane, model, [no_task()], num_points=2, path=line, path_points=3, others=[above])
    assert tuple(found.points.columns) == POINT_COLUMNS
    way = found.points.query("role == 'path'")
    np.testing.assert_allclose(way[["t", "x", "y", "distance"]], [[0, 0, 0, 0], [0.5, 2, 0.5, 0.5], [1, 4, 1, 1]])
    other = found.points.query("role == 'other'").iloc[0]
    assert (other["name"], other["x"], other["y"], other["distance"]) == ("p0", 0.5, 0.5, 2)
    assert found.frame["x"].max() == pytest.approx(4 * 1.2)  # the path is on the grid


def test_a_curve_with_one_bend_lies_in_its_plane(model):
    start, bend, end = places((-1.0, 0.0, 0.5), (0.0, 4.0, 0.5), (1.0, 0.0, 0.5))
    curve = mc.BezierCurve([start, bend, end], name="arc")
    found = evaluate_plane(Plane.along(curve), model, [no_task()], num_points=3, margin=0, path=curve, path_points=5)
    way = found.points.query("role == 'path'")
    assert way["distance"].max() < 1e-6
    np.testing.assert_allclose(way["x"], [0, 0.5, 1, 1.5, 2], atol=1e-6)
    np.testing.assert_allclose(way["y"], [0, 1.5, 2, 1.5, 0], atol=1e-6)
    assert found.frame["y"].max() == pytest.approx(4)  # the bend is in the plane, so the grid reaches it


def test_bends_off_the_plane_do_not_stretch_the_grid(model):
    start, one, two, end = places((-1.0, 0.0, 0.0), (-1.0, 2.0, 9.0), (1.0, 2.0, -9.0), (1.0, 0.0, 0.0))
    curve = mc.BezierCurve([start, one, two, end])
    found = evaluate_plane(Plane.along(curve), model, [no_task()], num_points=2, margin=0, path=curve)
    bends = found.points.query("role == 'point'").iloc[1:3]
    assert (bends["distance"] > 1).all()
    assert found.points.query("role == 'path'")["distance"].max() > 0.1
    assert found.frame["y"].max() == pytest.approx(found.points.query("role == 'path'")["y"].max(), rel=1e-6)


def test_an_interrupted_plane_goes_on(plane, model, monkeypatch):
    straight = evaluate_plane(plane, model, [no_task()], num_points=3)
    store, evaluate, calls = MemoryStore(), type(model).evaluate, []

    def interrupted(self, *args):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return evaluate(self, *args)

    monkeypatch.setattr(type(model), "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate_plane(plane, model, [no_task()], num_points=3, store=store)
    assert len(store) == 4
    resumed = evaluate_plane(plane, model, [no_task()], num_points=3, store=store)
    assert len(calls) == 5 + (9 - 4)
    pd.testing.assert_frame_equal(resumed.frame, straight.frame, check_exact=True)


def test_points_of_two_planes_are_never_mistaken(plane, model):
    store = MemoryStore()
    evaluate_plane(plane, model, [no_task()], num_points=2, store=store)
    other = Plane.through(places((0.0, 0.0, 1.0), (2.0, 0.0, 1.0), (1.0, 2.0, 1.0)))
    frame = evaluate_plane(other, model, [no_task()], num_points=2, store=store).frame
    assert len(store) == 8
    np.testing.assert_allclose(frame["loss"], frame["x"] ** 2 + (frame["y"] - 1).abs() + 5, atol=1e-5)


def test_adapters_at_the_corners_are_what_a_profile_says(ends, adapters, model_of_ends, tasks):
    third = mc.Adapter.from_pretrained(adapters("llama", 3, r=4))
    plane = Plane.through([*ends, third])
    found = evaluate_plane(plane, model_of_ends, tasks, num_points=2, margin=0)
    profile = mc.evaluate_path(mc.LinearPath(*ends), model_of_ends, tasks, num_points=2).frame
    for t, x in ((0.0, found.frame["x"].min()), (1.0, found.frame["x"].max())):
        at = (found.frame["x"] == x) & (found.frame["y"] == found.frame["y"].min())
        own = found.frame[at].set_index("task")[["loss", "score"]]
        expected = profile[profile["t"] == t].set_index("task")[["loss", "score"]]
        pd.testing.assert_frame_equal(own, expected, rtol=1e-5)
    assert set(found.checks["points_agree_with_peft_within"]) == {*(end.name for end in ends), third.name}


def test_updates_that_need_the_base_span_a_plane(adapters, tasks):
    points = [mc.Adapter.from_pretrained(adapters("llama", seed, use_dora=True)) for seed in (1, 2, 3)]
    model = mc.AdapterModel.from_pretrained(adapters=points)
    found = evaluate_plane(Plane.through(points, base=model), model, tasks[:1], num_points=2, margin=0)
    alone = mc.evaluate_path(mc.LinearPath(*points[:2]), model, tasks[:1], num_points=2).frame
    assert found.points["x"].iloc[1] == pytest.approx(alone["distance"].iloc[1], rel=1e-6)


@pytest.fixture(scope="module")
def model_of_ends(ends):
    return mc.AdapterModel.from_pretrained(adapters=ends)


def test_progress_counts_to_the_total(plane, model):
    seen = []
    evaluate_plane(plane, model, [no_task()], num_points=2, progress=lambda *call: seen.append(call[:2]))
    assert seen == [(done, 4) for done in range(5)]


def test_a_loss_that_is_not_finite_stops_the_sweep(plane):
    model = place_model(lambda place: torch.where(place[:, 1] > 2.2, torch.inf, 1.0), dimension=3)
    with pytest.raises(mc.EvaluationError, match=r"(?s)toy/test at x=-0.4, y=2.4 are not finite.*remedy"):
        evaluate_plane(plane, model, [no_task()], num_points=3)


def test_bad_arguments(plane, model):
    with pytest.raises(mc.EvaluationError, match="there is no task"):
        evaluate_plane(plane, model, [])
    with pytest.raises(mc.PathError, match=r"(?s)a grid cannot have 1 lines.*remedy"):
        evaluate_plane(plane, model, [no_task()], num_points=1)
    with pytest.raises(mc.EvaluationError, match=r"(?s)too few points on the path.*num_points=1"):
        evaluate_plane(plane, model, [no_task()], path=plane.path, path_points=1)
    with pytest.raises(mc.TaskError, match=r"no usable split 'eval'"):
        evaluate_plane(plane, model, [no_task()], split="eval")


def test_a_path_with_two_heads_is_refused(plane, model):
    plane.path.heads = "own"
    with pytest.raises(mc.EvaluationError, match=r'(?s)with two heads.*one head.*heads="own".*heads="shared"'):
        evaluate_plane(plane, model, [no_task()])
