"""Any path is a matrix of coefficients times control points: here a parabola through three of them."""

import pytest
import torch
from points import assert_updates, dense, dense_sum, make_point, make_tensors

from modeconn.errors import AdapterError
from modeconn.paths import LinearPath, Path


class Parabola(Path):
    """Quadratic Bezier coefficients, `(1-t)^2, 2t(1-t), t^2`."""

    def coefficients(self, t):
        t = t.double()
        return torch.stack([(1 - t) ** 2, 2 * t * (1 - t), t**2], dim=1)


@pytest.fixture
def tensors():
    return [make_tensors(seed) for seed in (1, 2, 3)]


@pytest.fixture
def points(tensors):
    return [make_point(one, fields={"name": f"p{number}"}) for number, one in enumerate(tensors)]


def test_a_point_is_the_combination_by_its_coefficients(points, tensors):
    updates = [dense(one) for one in tensors]
    expected = dense_sum((0.5625, updates[0]), (0.375, updates[1]), (0.0625, updates[2]))
    assert_updates(Parabola(points)(0.25), expected)


def test_in_factors_space_the_vectors_are_combined(points):
    vectors = torch.stack([point.vector for point in points]).double()
    expected = (torch.tensor([0.5625, 0.375, 0.0625]).double() @ vectors).float()
    torch.testing.assert_close(Parabola(points, space="factors")(0.25).vector, expected)


def test_the_name_leads_from_the_first_point_to_the_last(points):
    assert Parabola(points).name == "p0 -> p2"


def test_the_length_of_the_chord_is_not_that_of_the_way_there(points):
    curve, chord = Parabola(points), LinearPath(points[0], points[2])
    assert curve.distance(1.0) == pytest.approx(chord.distance(1.0), rel=1e-12)
    assert curve.distance(0.5) != pytest.approx(chord.distance(0.5), rel=0.05)


def test_every_pair_of_control_points_is_compared(points):
    bend = make_point(make_tensors(4, modules={"layers.9.v": (4, 5)}), fields={"name": "bend"})
    end = make_point(make_tensors(5, modules={"layers.9.v": (4, 6)}), fields={"name": "end"})
    with pytest.raises(AdapterError, match=r"bend and end cannot be combined(?s:.*)\[4, 5\] and \[4, 6\]"):
        Parabola([points[0], bend, end])
