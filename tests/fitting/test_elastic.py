"""The geometry of an elastic band, against values worked by hand and slow references."""

import itertools

import numpy as np
import pytest
import torch

from modeconn.fitting.elastic import insertions, orthogonal, redistributed, tangents


@pytest.fixture
def chain():
    return torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def lengths(points):
    return points.diff(dim=0).norm(dim=1)


def test_a_tangent_points_at_the_higher_neighbour(chain):
    losses = [0.0, 1.0, 2.0, 1.0, 3.0, 0.5, 0.0]
    found = tangents(chain, losses)
    for k in range(1, 6):
        one, other = (k, k + 1) if losses[k + 1] > losses[k - 1] else (k - 1, k)
        expected = (chain[other] - chain[one]) / (chain[other] - chain[one]).norm()
        torch.testing.assert_close(found[k - 1], expected)


def test_a_pivot_on_its_neighbour_has_no_tangent_and_keeps_its_gradient():
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    along = tangents(points, [0.0, 0.0, 1.0])
    assert torch.equal(orthogonal(torch.tensor([[3.0, 4.0]]), along), torch.tensor([[3.0, 4.0]]))


def test_what_is_left_of_a_gradient_is_orthogonal_to_the_chain(chain):
    along = tangents(chain, [0.0] * 7)
    gradients = torch.randn(5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    left = orthogonal(gradients, along)
    torch.testing.assert_close((left * along).sum(1), torch.zeros(5, dtype=torch.float64))
    removed = gradients - left
    torch.testing.assert_close(removed.norm(dim=1), (removed * along).sum(1).abs())


@pytest.mark.parametrize("shares", [[0.25] * 4, [0.1, 0.4, 0.3, 0.2], [1 / 9] * 9])
def test_points_that_are_put_back_lie_on_the_chain_at_their_shares(chain, shares):
    found = redistributed(chain, shares)
    assert torch.equal(found[0], chain[0])
    assert torch.equal(found[-1], chain[-1])
    part = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None]
    dense = torch.cat([torch.lerp(one, other, part) for one, other in itertools.pairwise(chain)])
    travelled = torch.cat([torch.zeros(1, dtype=torch.float64), lengths(dense).cumsum(0)])
    for point, wanted in zip(found[1:-1], np.cumsum(shares)[:-1] * float(travelled[-1]), strict=True):
        gaps = (dense - point).norm(dim=1)
        assert float(gaps.min()) < 1e-3
        assert float(travelled[gaps.argmin()]) == pytest.approx(wanted, abs=5e-3)


def test_a_straight_chain_gets_even_segments():
    points = torch.tensor([0.0, 0.1, 0.9, 1.0])[:, None] * torch.tensor([[3.0, 4.0]])
    torch.testing.assert_close(lengths(redistributed(points, [1 / 3] * 3)), torch.full((3,), 5 / 3))


def test_a_chain_that_is_redistributed_twice_stays():
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    torch.testing.assert_close(redistributed(points, [0.5, 0.5]), points)


def test_a_chain_without_length_stays():
    points = torch.ones(4, 3)
    assert torch.equal(redistributed(points, [1 / 3] * 3), points)


def test_pivots_are_inserted_where_a_segment_rises_above_its_chord():
    losses = torch.tensor(
        [
            [0.0, 0.25, 0.5, 0.75, 1.0],  # straight
            [1.0, 2.0, 1.2, 1.1, 1.0],  # highest above the chord at 1/4
            [1.0, 0.0, 0.0, 0.0, 1.0],  # below
            [1.0, 1.1, 1.2, 2.9, 3.0],  # 2.9 is 0.4 above the chord, less than 0.2 of the range of 3
        ]
    )
    assert insertions(losses, insert_above=0.2) == {1: 0.25}
    assert insertions(losses, insert_above=0.1) == {1: 0.25, 3: 0.75}


def test_a_flat_chain_needs_no_pivot():
    assert insertions(torch.ones(3, 5), insert_above=0.2) == {}
