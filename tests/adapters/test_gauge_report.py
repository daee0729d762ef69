"""The report of an alignment: distances, shares and gaps against what the points' own tensors give."""

import math

import pytest
import torch
from points import PREFIX, dense, dense_norm, dense_sum, make_point, make_tensors

from modeconn.adapters.gauge import align, regauge
from modeconn.adapters.gauge_report import GAUGE_COLUMNS
from modeconn.paths import LinearPath

HEADS = {"score.weight": (3, 5)}


@pytest.fixture(scope="module")
def tensors():
    return make_tensors(1, heads=HEADS), make_tensors(2, heads=HEADS)


@pytest.fixture(scope="module")
def points(tensors):
    return [make_point(one, modules_to_save=["score"]) for one in tensors]


@pytest.fixture(scope="module")
def alignment(points):
    return align(points[1], to=points[0])


@pytest.fixture(scope="module")
def report(alignment):
    return alignment.report.set_index("parameter")


def squared(tensors, *, only=""):
    """The squared distance of two points' tensors whose names hold a text."""
    return sum(float(((tensors[1][n].double() - tensors[0][n].double()) ** 2).sum()) for n in tensors[0] if only in n)


def test_there_is_a_row_for_each_parameter_and_one_for_all(alignment):
    assert tuple(alignment.report.columns) == GAUGE_COLUMNS
    names = ["layers.0.q.weight", "layers.1.v.weight", "score.weight", "total"]
    assert alignment.report["parameter"].tolist() == names
    assert alignment.report["rank"].tolist() == [2, 2, 0, 4]


def test_the_distance_before_is_that_of_the_tensors_with_their_scaling(tensors, report):
    for module in ("layers.0.q", "layers.1.v"):
        expected = math.sqrt(1.5 * squared(tensors, only=module))
        assert report.loc[f"{module}.weight", "distance_before"] == pytest.approx(expected, rel=1e-12)
    expected = math.sqrt(1.5 * squared(tensors, only="lora") + squared(tensors, only="score"))
    assert report.loc["total", "distance_before"] == pytest.approx(expected, rel=1e-12)


def test_the_distance_after_is_the_length_of_the_line_in_factors(alignment, report):
    line = LinearPath(alignment.reference, alignment.point, space="factors")
    assert report.loc["total", "distance_after"] == pytest.approx(line.distance(1.0), rel=1e-6)


def test_the_share_is_that_of_the_squares(report):
    expected = 1 - (report["distance_after"] / report["distance_before"]) ** 2
    assert report["gauge_share"].tolist() == pytest.approx(expected.tolist(), abs=1e-12)
    assert 0.1 < report.loc["total", "gauge_share"] < 1
    assert report.loc["score.weight", "gauge_share"] == 0


def test_the_function_distance_is_that_of_the_updates(tensors, report):
    updates = dense_sum((1, dense(tensors[1])), (-1, dense(tensors[0])))
    for name, value in updates.items():
        assert report.loc[name, "function_distance"] == pytest.approx(float(value.norm()), rel=1e-10)
    expected = math.hypot(dense_norm(updates), math.sqrt(squared(tensors, only="score")))
    assert report.loc["total", "function_distance"] == pytest.approx(expected, rel=1e-10)


def test_the_gaps_are_how_far_the_midpoint_in_factors_is_from_that_in_weights(points, report):
    weights = LinearPath(*points)(0.5)
    for column, space in (("gap_before", "factors"), ("gap_after", "aligned-factors")):
        middle = LinearPath(*points, space=space)(0.5)
        missed = {
            name: (middle.updates[name].dense() - weights.updates[name].dense()).double() for name in middle.updates
        }
        for name, value in missed.items():
            assert report.loc[name, column] == pytest.approx(float(value.norm()), rel=1e-5)
        assert report.loc["total", column] == pytest.approx(dense_norm(missed), rel=1e-5)


def test_all_of_the_distance_of_a_function_from_itself_is_gauge(points):
    total = align(regauge(points[0], seed=0), to=points[0]).report.set_index("parameter").loc["total"]
    assert total["gauge_share"] == pytest.approx(1.0, abs=1e-10)
    assert total["distance_before"] > 1
    assert total["function_distance"] < 1e-5


def test_a_point_has_no_distance_from_itself_to_share(points):
    report = align(points[0], to=points[0]).report
    assert (report["distance_before"] == 0).all()
    assert report["gauge_share"].isna().all()


def test_points_that_share_their_gauge_and_a_small_b_move_apart():
    def point(angle):
        up = 0.01 * torch.tensor([[math.cos(angle)], [math.sin(angle)]])
        return make_point(
            {f"{PREFIX}m.lora_A.weight": torch.ones(1, 3), f"{PREFIX}m.lora_B.weight": up}, r=1, lora_alpha=1
        )

    report = align(point(0.6), to=point(0.0)).report.set_index("parameter").loc["total"]
    assert report["distance_after"] > 5 * report["distance_before"]
    assert report["gauge_share"] == pytest.approx(1 - (report["distance_after"] / report["distance_before"]) ** 2)
    assert report["gauge_share"] < -20
    assert report["gap_after"] == pytest.approx(report["gap_before"], abs=1e-9)


def test_a_parameter_of_one_end_is_measured_against_zeros():
    point, alone = (
        make_point(make_tensors(k, modules=modules))
        for k, modules in ((1, {"layers.0.q": (6, 5)}), (2, {"layers.1.v": (4, 5)}))
    )
    report = align(alone, to=point).report.set_index("parameter")
    for one, name in ((point, "layers.0.q.weight"), (alone, "layers.1.v.weight")):
        expected = math.sqrt(1.5) * float(one.vector.double().norm())
        assert report.loc[name, "distance_before"] == pytest.approx(expected, rel=1e-10)
        assert report.loc[name, "function_distance"] == pytest.approx(one.norm(), rel=1e-10)
