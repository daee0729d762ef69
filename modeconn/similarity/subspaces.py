"""Similarity by best rotations and by correlated directions: Procrustes distance, CCA and SVCCA."""

import torch

from modeconn.errors import EvaluationError
from modeconn.similarity.features import Features, centred_pair


def procrustes_distance(x: Features, y: Features) -> float:
    """The squared distance that is left when one representation is turned onto the other.

    `|A|^2 + |B|^2 - 2 |A' B|_*` of centred features of Frobenius norm 1, `|.|_*` the sum of singular values (Ding
    2021, arXiv 2108.01661). A metric's square: 0 for features that agree up to rotation and scale, at most 2.

    Args:
        x: `[N, P]`, numpy or torch, one row an example.
        y: `[N, Q]`, the same examples in the same order; widths may differ.

    Raises:
        EvaluationError: As for `linear_cka`.
    """
    first, second = centred_pair(x, y)
    shared = torch.linalg.svdvals(_small(first, second)).sum()
    return max(0.0, 2.0 - 2.0 * float(shared))


def mean_cca(x: Features, y: Features) -> float:
    """The mean canonical correlation of two representations (Raghu 2017, arXiv 1706.05806).

    It is invariant to every invertible linear map, and so says nothing with as many features as examples: then any two
    representations have 1.

    Args:
        x: `[N, P]`, numpy or torch, P < N.
        y: `[N, Q]`, the same examples in the same order, Q < N.

    Returns:
        The mean over the directions of the narrower side, in [0, 1]; directions that do not vary do not count.

    Raises:
        EvaluationError: As for `linear_cka`; or if there are not more examples than features.
    """
    first, second = centred_pair(x, y)
    _check_room(len(first), first.shape[1], second.shape[1], "mean_cca", "svcca keeps fewer directions")
    return _mean_correlation(_directions(first), _directions(second))


def svcca(x: Features, y: Features, *, variance: float = 0.99) -> float:
    """The mean canonical correlation of the directions that hold most of the variance (Raghu 2017, arXiv 1706.05806).

    Args:
        x: `[N, P]`, numpy or torch, one row an example.
        y: `[N, Q]`, the same examples in the same order.
        variance: The share of each side's variance that is kept, above 0 and at most 1.

    Returns:
        The mean over the directions of the side that keeps fewer, in [0, 1].

    Raises:
        EvaluationError: As for `linear_cka`; or if the share is no share, or as many directions are kept as there are
            examples.
    """
    if not 0 < variance <= 1:
        raise EvaluationError(
            "svcca keeps a share of the variance",
            expected="variance above 0 and at most 1",
            got=f"variance={variance}",
            remedy="use variance=0.99",
        )
    kept = [_directions(one, variance=variance) for one in centred_pair(x, y)]
    _check_room(len(kept[0]), kept[0].shape[1], kept[1].shape[1], "svcca", "keep a smaller share of the variance")
    return _mean_correlation(*kept)


def _small(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """A matrix with the singular values of `A' B`, of the smaller of both sizes, `[P, Q]` or `[N, N]`."""
    if len(a) >= max(a.shape[1], b.shape[1]):
        return a.T @ b
    # A = U_a S_a V_a': A' B has the singular values of S_a U_a' U_b S_b
    left, right = (torch.linalg.svd(one, full_matrices=False)[:2] for one in (a, b))
    return (left[0] * left[1]).T @ (right[0] * right[1])


def _directions(rows: torch.Tensor, *, variance: float = 1.0) -> torch.Tensor:
    """Orthonormal columns that span the strongest directions, `[N, R]`."""
    left, values, _ = torch.linalg.svd(rows, full_matrices=False)
    nonzero = values > values[0] * max(rows.shape) * torch.finfo(values.dtype).eps
    share = values.square().cumsum(0) / values.square().sum()
    enough = int((share < variance - 1e-12).sum()) + 1
    return left[:, : min(enough, int(nonzero.sum()))]


def _mean_correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """The mean of the singular values of `A' B` for orthonormal columns."""
    return float(torch.linalg.svdvals(a.T @ b).clamp(max=1.0).mean())


def _check_room(number: int, p: int, q: int, name: str, remedy: str) -> None:
    """Raise unless there are more examples than directions."""
    if number - 1 <= max(p, q):  # one direction is lost to the mean
        raise EvaluationError(
            f"{name} would be near 1 for any features",
            expected="more examples than directions, several times as many to mean something",
            got=f"{number} examples, {p} and {q} directions",
            remedy=f"take more examples; {remedy}",
        )
