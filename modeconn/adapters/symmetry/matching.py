"""Weight matching: the units of one model arranged so that its weights come as near to another's as they can."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import torch

from modeconn.adapters.symmetry.assignment import Term
from modeconn.adapters.symmetry.descent import Descent, descend
from modeconn.adapters.symmetry.moving import apply, identity
from modeconn.adapters.symmetry.spec import SymmetrySpec
from modeconn.adapters.symmetry.views import State, check_state, cut
from modeconn.errors import AdapterError, listed


@dataclass(frozen=True, eq=False)
class Matching:
    """A model arranged like another.

    Attributes:
        permutations: Arrangement of each group, as `apply` takes them.
        state: The moved model: the same function, other weights.
        report: A row for each group: group, size, num_tensors (parameters that have it), moved (the share of units that
            changed place; for a rotation Q `1 - tr(Q) / n`), distance_before, distance_after (L2 norm of the
            difference over those parameters). A parameter counts in each of its groups.
        distance_before: L2 distance of the two models over all parameters.
        distance_after: The same after the move.
        objectives: Sum of the inner products of the two models' weights after each sweep; never falls.
    """

    permutations: Mapping[str, torch.Tensor]
    state: dict[str, torch.Tensor]
    report: pd.DataFrame
    distance_before: float
    distance_after: float
    objectives: tuple[float, ...]


def match(a: State, to: State, spec: SymmetrySpec) -> Matching:
    """Moves the units of `a` so that its weights are near those of `to`, `min over P of |to - P a|`.

    Coordinate descent (Ainsworth 2022, arXiv 2209.04836): each group in turn is solved exactly as a linear assignment
    problem, or as an orthogonal Procrustes problem where it can be rotated (Theus 2025, arXiv 2506.22712), with
    the others held, until none improves. Heads are matched with their inner groups: every pair of heads is scored with
    the best arrangement of its inner dimensions and query heads. The problem as a whole is NP-hard; what is found is a
    local optimum. There are two starts, the arrangement as it is and none at all, and the better end is kept,
    so that the distance never grows. All sums are float64.

    Args:
        a: The model that is moved, tensors by name.
        to: The model that it is brought near to.
        spec: The symmetries of both, from `symmetry_of`; after `fold_norms`, the folded spec.

    Returns:
        The arrangement, the moved model and what it gained.

    Raises:
        AdapterError: If a model does not have the parameters of the spec, or the two differ in a shape.

    Example:
        >>> from modeconn.adapters.symmetry import Block, Group, SymmetrySpec
        >>> spec = SymmetrySpec((Group("mlp", 2),), (Block("up", (("mlp",), (1,))), Block("down", ((1,), ("mlp",)))))
        >>> a = {"up": torch.tensor([[1.0], [2.0]]), "down": torch.tensor([[3.0, 4.0]])}
        >>> b = {"up": torch.tensor([[2.0], [1.0]]), "down": torch.tensor([[4.0, 3.0]])}
        >>> found = match(a, to=b, spec=spec)
        >>> found.permutations, found.distance_before, found.distance_after
        ({'mlp': tensor([1, 0])}, 2.0, 0.0)
    """
    check_state(a, spec, "the model to move")
    check_state(to, spec, "the model to match")
    _check_shapes(a, to, spec)
    terms = [
        Term(fixed, moving, block.axes)
        for block, fixed, moving in zip(spec.blocks, cut(to, spec), cut(a, spec), strict=True)
        if any(isinstance(axis, str) for axis in block.axes)
    ]
    ends: list[Descent] = [descend(terms, spec.groups, start=start) for start in ({}, identity(spec))]
    best = max(ends, key=lambda end: end.objectives[-1])
    permutations = {group.name: best.permutations[group.name] for group in spec.groups}
    state = apply(permutations, a, spec)
    before, after = _squared_distances(a, to, spec), _squared_distances(state, to, spec)
    return Matching(
        permutations=permutations,
        state=state,
        report=_report(permutations, before, after, spec),
        distance_before=sum(before.values()) ** 0.5,
        distance_after=sum(after.values()) ** 0.5,
        objectives=best.objectives,
    )


def _check_shapes(a: State, to: State, spec: SymmetrySpec) -> None:
    """Raise if a tensor's shape differs between the two, where the spec leaves it open."""
    different = [
        f"{name} {list(a[name].shape)} and {list(to[name].shape)}"
        for name in spec.parameters
        if a[name].shape != to[name].shape
    ]
    if different:
        raise AdapterError(
            "the two models cannot be matched",
            expected="the same shape of every parameter",
            got=listed(different),
            remedy="match checkpoints with one vocabulary and one set of labels",
        )


def _squared_distances(a: State, to: State, spec: SymmetrySpec) -> dict[str, float]:
    """The squared L2 distance of each parameter, in float64."""
    return {name: float((a[name].double() - to[name].double()).square().sum()) for name in spec.parameters}


def _report(
    permutations: Mapping[str, torch.Tensor], before: dict[str, float], after: dict[str, float], spec: SymmetrySpec
) -> pd.DataFrame:
    """What the matching gained, one row for each group."""
    rows = []
    for group in spec.groups:
        names = {block.parameter for block in spec.blocks if group.name in block.axes}
        rows.append(
            {
                "group": group.name,
                "size": group.size,
                "num_tensors": len(names),
                "moved": _moved_share(permutations[group.name]),
                "distance_before": sum(before[name] for name in names) ** 0.5,
                "distance_after": sum(after[name] for name in names) ** 0.5,
            }
        )
    return pd.DataFrame(rows)


def _moved_share(arrangement: torch.Tensor) -> float:
    """The share of units that changed place, `1 - tr(Q) / n` of a rotation."""
    if arrangement.is_floating_point():
        return 1 - float(arrangement.diagonal().mean())
    return float((arrangement != torch.arange(arrangement.shape[-1])).double().mean())
