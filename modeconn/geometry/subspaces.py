"""How two subspaces lie to each other: principal angles and projection overlap."""

from typing import Any

import numpy as np
import torch

from modeconn.errors import EvaluationError


def principal_angles(first: Any, second: Any) -> np.ndarray:  # noqa: ANN401  (an array of numpy or torch)
    """The angles between two subspaces, the smallest first.

    The cosines are the singular values of `Q1^T Q2`, the sines those of `Q2 - Q1 Q1^T Q2`; an angle is taken from both,
    so that neither small nor large ones lose digits (Bjorck and Golub 1973; Knyazev and Argentati 2002).

    Args:
        first: Any vectors that span the one, as columns, `[n, p]`.
        second: Of the other, `[n, q]`.

    Returns:
        `min(rank p, rank q)` angles in [0, pi / 2], radians, increasing; of lines in one plane the angle between them.

    Raises:
        EvaluationError: If the vectors have different lengths, or numbers are not finite.

    Example:
        >>> np.degrees(principal_angles([[1.0], [0.0]], [[1.0], [1.0]])).round(9).tolist()
        [45.0]
    """
    return angles(*_bases(first, second)).numpy()


def projection_overlap(first: Any, second: Any) -> float:  # noqa: ANN401  (an array of numpy or torch)
    """`|Q1^T Q2|^2 / min(p, q)`, the mean squared cosine of the principal angles (Hu 2021, arXiv 2106.09685).

    Random subspaces of p and q of n dimensions overlap by `max(p, q) / n` on average.

    Args:
        first: Any vectors that span the one, as columns, `[n, p]`.
        second: Of the other, `[n, q]`.

    Returns:
        1 where the smaller one lies in the larger one, 0 where they are orthogonal; NaN where one has no direction.

    Raises:
        EvaluationError: If the vectors have different lengths, or numbers are not finite.

    Example:
        >>> round(projection_overlap([[1.0], [0.0]], [[1.0], [1.0]]), 12)
        0.5
    """
    one, other = _bases(first, second)
    directions = min(one.shape[1], other.shape[1])
    return float((one.T @ other).square().sum()) / directions if directions else float("nan")


def angles(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The principal angles between the spans of two orthonormal bases, `[n, p], [n, q] -> [min(p, q)]`, increasing."""
    larger, smaller = (first, second) if first.shape[1] >= second.shape[1] else (second, first)
    shared = larger.T @ smaller  # [p, q]
    cosines = torch.linalg.svdvals(shared)  # decreasing
    sines = torch.linalg.svdvals(smaller - larger @ shared).flip(0)  # increasing
    return torch.atan2(sines, cosines)


def _bases(first: Any, second: Any) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ANN401
    """Orthonormal bases of what the columns span, float64."""
    pair = [torch.as_tensor(np.asarray(one, dtype=np.float64)) for one in (first, second)]
    shapes = [list(one.shape) for one in pair]
    if any(one.ndim != 2 for one in pair) or shapes[0][0] != shapes[1][0]:
        raise EvaluationError(
            "these are not two subspaces of one space",
            expected="matrices [n, p] and [n, q], whose columns span them",
            got=f"shapes {shapes[0]} and {shapes[1]}",
            remedy="give the vectors as columns, all of the same length",
        )
    if not all(one.isfinite().all() for one in pair):
        raise EvaluationError(
            "subspaces cannot be compared",
            expected="finite numbers",
            got="NaN or infinity",
            remedy="find the checkpoint that diverged",
        )
    return _basis(pair[0]), _basis(pair[1])


def _basis(vectors: torch.Tensor) -> torch.Tensor:
    """An orthonormal basis of the columns' span; directions that are rounding are left out."""
    left, values, _ = torch.linalg.svd(vectors, full_matrices=False)
    floor = max(vectors.shape) * torch.finfo(torch.float64).eps * (float(values[0]) if len(values) else 0.0)
    return left[:, : int((values > floor).sum())]
