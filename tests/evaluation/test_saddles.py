"""The tree of saddles against the minimax path of every pair, found by trying all ways in."""

import numpy as np
import pytest

from modeconn.errors import EvaluationError
from modeconn.evaluation.saddles import saddle_tree


def lowest_ways(losses):
    """The lowest highest edge of any way between two minima, by Floyd and Warshall."""
    found = np.where(np.isnan(losses), np.inf, losses)
    np.fill_diagonal(found, -np.inf)
    for k in range(len(found)):
        found = np.minimum(found, np.maximum(found[:, k : k + 1], found[k : k + 1, :]))
    np.fill_diagonal(found, np.nan)
    return found


def random_losses(seed, size=7, *, gaps=0.0, ties=False):
    rng = np.random.default_rng(seed)
    losses = rng.integers(-3, 4, (size, size)).astype(float) if ties else rng.normal(size=(size, size))
    losses[rng.random((size, size)) < gaps] = np.nan
    losses = np.triu(losses, 1) + np.triu(losses, 1).T
    index = np.arange(size - 1)
    losses[index, index + 1] = losses[index + 1, index] = np.nan_to_num(losses[index, index + 1])  # connected
    return losses


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ties", [False, True])
def test_saddles_are_those_of_the_lowest_ways(seed, ties):
    losses = random_losses(seed, gaps=0.4, ties=ties)  # negative losses and zeros among them
    np.testing.assert_array_equal(saddle_tree(losses).saddles, lowest_ways(losses))


def test_edges_are_measured_paths_from_the_lowest_up():
    losses = random_losses(0, gaps=0.4)
    tree = saddle_tree(losses)
    assert tree.edges.shape == (6, 2)
    np.testing.assert_array_equal(tree.heights, [losses[i, j] for i, j in tree.edges])
    assert (np.diff(tree.heights) >= 0).all()


def test_the_diagonal_is_not_looked_at():
    losses = random_losses(1)
    filled = losses + np.diag(np.full(7, -99.0))
    np.testing.assert_array_equal(saddle_tree(filled).saddles, saddle_tree(losses).saddles)


def test_the_argument_is_left_as_it_was():
    losses = random_losses(1)
    before = losses.copy()
    saddle_tree(losses)
    np.testing.assert_array_equal(losses, before)


@pytest.mark.parametrize(
    ("losses", "got"),
    [
        ([[0.0]], r"shape \[1, 1\]"),
        ([1.0, 2.0], r"shape \[2\]"),
        ([[0, 1], [2, 0]], "not symmetric"),
        ([[0, np.inf], [np.inf, 0]], "infinite"),
    ],
)
def test_what_is_no_matrix_of_losses(losses, got):
    with pytest.raises(EvaluationError, match=rf"(?s)no saddle tree.*expected: a symmetric.*got: .*{got}.*remedy: "):
        saddle_tree(losses)


def test_minima_without_a_path_are_named():
    losses = np.full((4, 4), np.nan)
    losses[0, 1] = losses[1, 0] = losses[2, 3] = losses[3, 2] = 1.0
    with pytest.raises(EvaluationError, match=r'(?s)all 4 minima.*no path from minimum 0 to 2, 3.*pairs="all"'):
        saddle_tree(losses)
