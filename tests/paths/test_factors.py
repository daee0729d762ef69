"""The line in factors space combines the adapters' own tensors: quadratic in t, and it depends on the gauge."""

import pytest
import torch
from points import PREFIX, assert_updates, dense, make_point, make_tensors

from modeconn.paths import LinearPath

T = [0.1, 0.5, 0.9]
SCALING = 1.5
NAMES = ("layers.0.q", "layers.1.v")


@pytest.fixture(scope="module")
def tensors():
    return make_tensors(1), make_tensors(2)


@pytest.fixture(scope="module")
def line(tensors):
    return LinearPath(make_point(tensors[0]), make_point(tensors[1]), space="factors")


def factor(tensors, module, kind):
    return tensors[f"{PREFIX}{module}.lora_{kind}.weight"].double()


def regauged(tensors, gauge):
    """The same function in another gauge, (B G, G^-1 A)."""
    turned = {}
    for module in NAMES:
        turned[f"{PREFIX}{module}.lora_B.weight"] = (factor(tensors, module, "B") @ gauge).float()
        turned[f"{PREFIX}{module}.lora_A.weight"] = (torch.linalg.inv(gauge) @ factor(tensors, module, "A")).float()
    return turned


@pytest.mark.parametrize("t", T)
def test_both_factors_are_combined_by_themselves(tensors, line, t):
    expected = {}
    for name in NAMES:
        up, down = (
            (1 - t) * factor(tensors[0], name, kind) + t * factor(tensors[1], name, kind) for kind in ("B", "A")
        )
        expected[f"{name}.weight"] = SCALING * up @ down
    assert_updates(line(t), expected)


@pytest.mark.parametrize("t", T)
def test_weights_minus_factors_is_the_product_of_the_differences(tensors, line, t):
    weights = LinearPath(line.start, line.end, space="weights")(t)
    for name in NAMES:
        up, down = (factor(tensors[1], name, kind) - factor(tensors[0], name, kind) for kind in ("B", "A"))
        found = weights.updates[f"{name}.weight"].dense() - line(t).updates[f"{name}.weight"].dense()
        torch.testing.assert_close(found.double(), SCALING * t * (1 - t) * up @ down, rtol=1e-5, atol=1e-5)


def test_the_line_between_two_gauges_of_one_function_is_not_constant(tensors):
    turned = regauged(tensors[0], torch.tensor([[2.0, 1.0], [0.5, -1.5]], dtype=torch.float64))
    midpoint = LinearPath(make_point(tensors[0]), make_point(turned), space="factors")(0.5)
    for name, update in dense(tensors[0]).items():
        assert (midpoint.updates[name].dense() - update).norm() > 0.3 * update.norm()


def test_the_midpoint_of_a_function_and_its_mirror_gauge_is_zero(tensors):
    mirrored = regauged(tensors[0], -torch.eye(2, dtype=torch.float64))
    assert_updates(make_point(mirrored), dense(tensors[0]))
    assert LinearPath(make_point(tensors[0]), make_point(mirrored), space="factors")(0.5).is_zero


def test_many_positions_give_the_vectors_of_the_single_points(line):
    positions = torch.tensor([0.0, 0.2, 0.5, 1.0])
    rows = line(positions)
    assert rows.shape == (4, line.start.layout.num_parameters)
    assert torch.equal(rows, torch.stack([line(float(t)).vector for t in positions]))


def test_no_positions_give_no_rows(line):
    assert line(torch.zeros(0)).shape == (0, line.start.layout.num_parameters)


@pytest.mark.parametrize("t", [0.0, *T, 1.0])
def test_the_distance_is_that_of_the_vectors(tensors, line, t):
    squares = [((tensors[1][name].double() - tensors[0][name].double()) ** 2).sum() for name in tensors[0]]
    assert line.distance(t) == pytest.approx(t * float(sum(squares)) ** 0.5, rel=1e-12)


def test_a_read_back_combination_scales_as_its_file_says(tensors):
    combination = 0.5 * make_point(make_tensors(3, rank=1), r=1) + 0.5 * make_point(make_tensors(4, rank=1), r=1)
    twin = make_point(combination.tensors, **combination.config.raw)
    line = LinearPath(combination, make_point(tensors[0], lora_alpha=2), space="factors")
    expected = LinearPath(twin, make_point(tensors[0], lora_alpha=2), space="factors")
    assert line(0.5).fingerprint == expected(0.5).fingerprint
