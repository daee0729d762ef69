"""Barrier matrices on a landscape that is a formula, and against the profiles of single lines."""

import numpy as np
import pandas as pd
import pytest
from places import MemoryStore, no_task, place_model, places

import modeconn as mc
from modeconn.evaluation.matrix import PAIR_COLUMNS
from modeconn.evaluation.pairs import barrier_matrix

WELLS = ((-1.0, 0.0), (1.0, 0.0), (1.0, 2.0))


def wells(place):
    """A wall at x = 0, and a slope in y."""
    return (1 - place[:, 0] ** 2) ** 2 + place[:, 1]


@pytest.fixture
def model():
    return place_model(wells)


@pytest.fixture
def matrix(model):
    return barrier_matrix(places(*WELLS), model, [no_task()], num_points=5)


def test_barriers_and_saddles_are_those_of_the_landscape(matrix):
    barriers = [[0, 1, 1], [1, 0, 0], [1, 0, 0]]  # against the chord, which takes the slope away
    np.testing.assert_allclose(matrix.barriers("toy"), barriers, atol=1e-6)
    mean = [[0, 1, 1.0625], [1, 0, 1], [1.0625, 1, 0]]
    np.testing.assert_allclose(matrix.barriers("toy", baseline="mean"), mean, atol=1e-6)
    # From (-1, 0) to (1, 2) the loss is (1 - x^2)^2 + x + 1 at x = -1, -.5, 0, .5, 1: its highest is 2.0625.
    saddles = [[0, 1, 2.0625], [1, 0, 2], [2.0625, 2, 2]]
    np.testing.assert_allclose(matrix.saddles("toy"), saddles, atol=1e-6)
    assert list(matrix.saddles("toy").columns) == ["p0", "p1", "p2"]


def test_the_tree_goes_around_the_higher_saddle(matrix):
    tree = matrix.trees()
    assert tree[["start", "end"]].to_numpy().tolist() == [["p0", "p1"], ["p1", "p2"]]
    np.testing.assert_allclose(tree[["saddle", "loss_start", "loss_end"]], [[1, 0, 0], [2, 0, 2]], atol=1e-6)


def test_the_table_says_of_every_pair_what_its_profile_says(adapters, tasks):
    points = [mc.Adapter.from_pretrained(adapters("llama", seed)) for seed in (1, 2, 3)]
    model = mc.AdapterModel.from_pretrained(adapters=points)
    found = barrier_matrix(points, model, tasks, num_points=3)
    assert tuple(found.frame.columns) == PAIR_COLUMNS
    assert len(found.frame) == 3 * len(tasks)
    alone = mc.evaluate_path(mc.LinearPath(points[0], points[2]), model, tasks, num_points=3)
    path = alone.frame["path"].iloc[0]
    pd.testing.assert_frame_equal(found.profile.frame.query("path == @path").reset_index(drop=True), alone.frame)
    for _, row in alone.barriers().iterrows():
        own = found.frame.query("path == @path and task == @row.task").iloc[0]
        assert own[f"barrier_{row['baseline']}"] == row["barrier"]
    assert set(found.profile.checks[path]["ends_agree_with_peft_within"]) == {point.name for point in points}


def test_a_checkpoint_is_evaluated_once_however_many_lines_end_in_it(model, monkeypatch):
    evaluated, evaluate = [], type(model).evaluate
    monkeypatch.setattr(type(model), "evaluate", lambda self, *args: evaluated.append(1) or evaluate(self, *args))
    seen = []
    barrier_matrix(places(*WELLS), model, [no_task()], num_points=4, progress=lambda *call: seen.append(call[:2]))
    assert len(evaluated) == 3 + 3 * 2
    assert seen[0] == (0, 12)
    assert seen[-1] == (12, 12)


def test_consecutive_pairs_leave_gaps(model):
    found = barrier_matrix(places(*WELLS), model, [no_task()], num_points=3, pairs="consecutive")
    assert np.isnan(found.barriers("toy").loc["p0", "p2"])
    assert found.frame["path"].tolist() == ["p0 -> p1", "p1 -> p2"]
    assert len(found.trees()) == 2


def test_an_interrupted_matrix_goes_on(model, monkeypatch):
    straight = barrier_matrix(places(*WELLS), model, [no_task()], num_points=3)
    store, evaluate, calls = MemoryStore(), type(model).evaluate, []

    def interrupted(self, *args):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return evaluate(self, *args)

    monkeypatch.setattr(type(model), "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        barrier_matrix(places(*WELLS), model, [no_task()], num_points=3, store=store)
    resumed = barrier_matrix(places(*WELLS), model, [no_task()], num_points=3, store=store)
    assert len(calls) == 1 + 3 + 3  # three checkpoints and three middles, each once, and the one interrupted
    pd.testing.assert_frame_equal(resumed.frame, straight.frame, check_exact=True)


def test_a_policy_for_heads_joins_what_cannot_be_joined_otherwise(adapters, tasks):
    points = [mc.Adapter.from_pretrained(adapters("bert", seed)) for seed in (1, 2)]
    labels = [" good", " bad", " maybe"]
    model = mc.AdapterModel.from_pretrained(adapters=points, labels=labels)
    usual = barrier_matrix(points, model, tasks[:1], num_points=2)
    shared = barrier_matrix(points, model, tasks[:1], num_points=2, heads="shared")
    assert shared.frame["loss_start"].tolist() == usual.frame["loss_start"].tolist()
    assert shared.frame["loss_end"].tolist() != usual.frame["loss_end"].tolist()
    with pytest.raises(mc.EvaluationError, match="with two heads"):
        barrier_matrix(points, model, tasks[:1], num_points=2, heads="own")


def test_bad_arguments(model, matrix):
    points = places(*WELLS)
    with pytest.raises(mc.EvaluationError, match=r"(?s)too few checkpoints.*two checkpoints or more.*got: p0"):
        barrier_matrix(points[:1], model, [no_task()])
    with pytest.raises(mc.EvaluationError, match=r"(?s)cannot be told apart.*name of its own.*p0, p0.*remedy"):
        barrier_matrix([points[0], points[0]], model, [no_task()])
    with pytest.raises(mc.EvaluationError, match=r"(?s)unknown pairs 'some'.*all or consecutive"):
        barrier_matrix(points, model, [no_task()], pairs="some")
    with pytest.raises(mc.EvaluationError, match=r"(?s)no pair was measured on the task 'x'.*one of toy"):
        matrix.barriers("x")
    with pytest.raises(mc.EvaluationError, match=r"(?s)unknown baseline 'low'.*chord or mean"):
        matrix.barriers("toy", baseline="low")
