"""The best arrangement of one group of units, everything else held."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from scipy.optimize import linear_sum_assignment

from modeconn.adapters.symmetry.moving import Permutations, moved
from modeconn.adapters.symmetry.spec import Axis, Group


@dataclass(frozen=True)
class Term:
    """One block in both models: a part of the objective, `<to, P from>` (Frobenius).

    Attributes:
        fixed: View of the model that stays, one dimension for each axis.
        moving: View of the model whose units are moved, of the same shape.
        axes: The axes; outer groups before their inner ones.
    """

    fixed: torch.Tensor
    moving: torch.Tensor
    axes: tuple[Axis, ...]

    @property
    def groups(self) -> set[str]:
        """Names of the groups that the block has as axes."""
        return {axis for axis in self.axes if isinstance(axis, str)}


def objective(terms: Iterable[Term], permutations: Permutations, groups: Mapping[str, Group]) -> float:
    """The sum of the inner products of what stays and what is moved, in float64."""
    return sum(
        float((term.fixed.double() * moved(term.moving, term.axes, permutations, groups).double()).sum())
        for term in terms
    )


def unit_scores(
    terms: Iterable[Term], group: Group, permutations: Permutations, groups: Mapping[str, Group]
) -> torch.Tensor:
    """How well each unit of the moving model fits each place: `S[i, j] = <fixed unit i, moving unit j>`, `[n, n]`.

    A group that lies on two axes of one block makes the objective quadratic; each axis is then scored with
    the other held as it is now, which gives the gradient.

    Args:
        terms: Blocks that have the group as an axis; their other groups are moved as `permutations` says.
        group: The group.
        permutations: The present arrangement of the other groups.
        groups: All groups by name.
    """
    scores = torch.zeros(group.size, group.size, dtype=torch.float64)
    for term in terms:
        for dimension in (d for d, axis in enumerate(term.axes) if axis == group.name):
            moving = moved(term.moving, term.axes, permutations, groups, held=dimension)
            fixed = term.fixed.movedim(dimension, 0).reshape(group.size, -1).double()  # [n, rest]
            scores += (fixed @ moving.movedim(dimension, 0).reshape(group.size, -1).double().T).cpu()  # [n, n]
    return scores


def best_arrangement(scores: torch.Tensor, *, rotation: bool = False) -> torch.Tensor:
    """The arrangement of the highest score.

    A permutation `p` maximises `sum_i S[i, p[i]]`, a linear assignment problem (Ainsworth 2022, arXiv 2209.04836,
    section 3.2). A rotation maximises `tr(Q^T S)`: `Q = U V^T` from `S = U D V^T`, the orthogonal Procrustes problem
    (Schoenemann 1966; for residual streams Theus 2025, arXiv 2506.22712).

    Args:
        scores: `[n, n]`.
        rotation: Whether any orthogonal matrix is allowed.

    Returns:
        `[n]` of int64, or `[n, n]` of float64.

    Example:
        >>> best_arrangement(torch.tensor([[1.0, 5.0], [2.0, 1.0]]))
        tensor([1, 0])
    """
    if rotation:
        left, _, right = torch.linalg.svd(scores)
        return left @ right
    _, columns = linear_sum_assignment(scores.numpy(), maximize=True)
    return torch.from_numpy(columns)


def without_axis(term: Term, name: str, unit: int, other: int) -> Term:
    """One unit of an outer group of each model: unit of the one that stays, other of the one that moves."""
    dimension = term.axes.index(name)
    axes = term.axes[:dimension] + term.axes[dimension + 1 :]
    return replace(
        term, fixed=term.fixed.select(dimension, unit), moving=term.moving.select(dimension, other), axes=axes
    )


def stacked(chosen: Sequence[Permutations]) -> dict[str, torch.Tensor]:
    """The inner arrangements of each outer unit as one tensor for each group, `[outer n, n]`."""
    return {name: torch.stack([permutations[name] for permutations in chosen]) for name in chosen[0]}
