"""Which saddles lie between many minima: the minimum spanning tree of the losses on the way."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from scipy.sparse.csgraph import minimum_spanning_tree

from modeconn.errors import EvaluationError, listed


@dataclass(frozen=True)
class SaddleTree:
    """The minimum spanning tree over N minima whose edge weights are saddle losses.

    Attributes:
        edges: The minima that each edge joins, `[N - 1, 2]`, from the lowest saddle to the highest.
        heights: The saddle loss of each edge, `[N - 1]`.
        saddles: The saddle loss between any two minima, the highest edge on the tree's way from one to the other,
            `[N, N]`; NaN on the diagonal.
    """

    edges: np.ndarray
    heights: np.ndarray
    saddles: np.ndarray


def saddle_tree(losses: ArrayLike) -> SaddleTree:
    """The lowest saddles between all minima, by the minimum spanning tree (Draxler 2018, arXiv 1803.00885).

    Of all ways from one minimum to another through other minima, the way along the tree has the lowest highest loss.

    Args:
        losses: The highest loss on the path between minima i and j, `[N, N]`, symmetric; NaN where no path was
            measured. The diagonal is not looked at.

    Returns:
        The tree.

    Raises:
        EvaluationError: If the matrix is not square and symmetric, holds infinity, or leaves a minimum without a path.

    Example:
        >>> tree = saddle_tree([[0, 3, 9], [3, 0, 5], [9, 5, 0]])
        >>> tree.edges.tolist(), tree.heights.tolist()
        ([[0, 1], [1, 2]], [3.0, 5.0])
        >>> float(tree.saddles[0, 2])
        5.0
    """
    matrix = _checked(losses)
    size = len(matrix)
    first, second = np.nonzero(np.triu(~np.isnan(matrix), 1))
    # The tree depends on the order of the losses only; ranks keep a loss of 0 from being taken for no edge.
    values, ranks = np.unique(matrix[first, second], return_inverse=True)
    found = minimum_spanning_tree(csr_array((ranks.reshape(-1) + 1, (first, second)), shape=(size, size))).tocoo()
    order = np.lexsort((found.col, found.row, found.data))
    edges = np.stack([found.row, found.col], axis=1)[order].astype(int)
    heights = values[found.data[order].astype(int) - 1]
    groups = [{i} for i in range(size)]
    saddles = np.full((size, size), np.nan)
    for (i, j), height in zip(edges, heights, strict=True):
        one, other = sorted(groups[i]), sorted(groups[j])
        saddles[np.ix_(one, other)] = saddles[np.ix_(other, one)] = height
        joined = groups[i] | groups[j]
        for member in joined:
            groups[member] = joined
    _check_connected(groups)
    return SaddleTree(edges, heights, saddles)


def _checked(losses: ArrayLike) -> np.ndarray:
    """The losses as float64 `[N, N]` with a diagonal of NaN, once they are square, symmetric and not infinite."""
    matrix = np.array(losses, dtype=float)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        got = f"an array of shape {list(matrix.shape)}"
    else:
        np.fill_diagonal(matrix, np.nan)
        if np.array_equal(matrix, matrix.T, equal_nan=True) and not np.isinf(matrix).any():
            return matrix
        got = "infinite losses" if np.isinf(matrix).any() else "a matrix that is not symmetric"
    raise EvaluationError(
        "no saddle tree of these losses",
        expected="a symmetric matrix of finite losses, a row and a column for each of 2 minima or more, NaN for gaps",
        got=got,
        remedy="pass for instance BarrierMatrix.saddles(task)",
    )


def _check_connected(groups: list[set[int]]) -> None:
    """Raise unless all minima hang together."""
    rest = set(range(len(groups))) - groups[0]
    if rest:
        raise EvaluationError(
            "no saddle tree: some minima are not joined to the others",
            expected=f"paths that join all {len(groups)} minima",
            got=f"no path from minimum 0 to {listed(map(str, rest))}",
            remedy='measure more pairs: pairs="all"',
        )
