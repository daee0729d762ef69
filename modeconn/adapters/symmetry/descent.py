"""Coordinate descent over groups of units: each in turn gets its best arrangement while the others are held."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from modeconn.adapters.symmetry.assignment import (
    Term,
    best_arrangement,
    objective,
    stacked,
    unit_scores,
    without_axis,
)
from modeconn.adapters.symmetry.moving import Permutations, moved
from modeconn.adapters.symmetry.spec import ANY, Group

MAX_SWEEPS = 100
ROUNDING = 1e-12  # of the terms' size: a smaller gain is not a gain


@dataclass(frozen=True)
class Descent:
    """Where the descent ended.

    Attributes:
        permutations: Arrangement of each group.
        objectives: The objective after each sweep, from the first in which all groups have an arrangement.
    """

    permutations: dict[str, torch.Tensor]
    objectives: tuple[float, ...]


def descend(terms: Sequence[Term], groups: Sequence[Group], *, start: Permutations) -> Descent:
    """Arrangements at which no single group can be improved, `max over P of sum over blocks of <fixed, P moving>`.

    Since moving units does not change a norm, this minimises the distance of the two models (Ainsworth 2022,
    arXiv 2209.04836, section 3.2). A group without an arrangement so far has no say: a block is heard once all its
    other groups have one. From an empty start the groups are therefore arranged one after the other, those first
    that no other hides, such as the residual stream by the embeddings; a permuted copy is found in one sweep.
    A group is looked at again when one that shares a block with it has moved.

    Args:
        terms: The blocks of both models.
        groups: All groups; an inner one is arranged with its outer one.
        start: Arrangements to begin with; empty, or one for every group.

    Returns:
        The arrangements and the objective after each sweep.
    """
    by_name = {group.name: group for group in groups}
    outer = [group for group in groups if group.within is None]
    permutations, objectives = dict(start), []
    pending = {group.name for group in outer}
    for _ in range(MAX_SWEEPS):
        for group in outer:
            if group.name not in pending:
                continue
            pending.discard(group.name)
            if _improve(group, terms, permutations, by_name):
                pending |= _neighbours(group, terms) & {other.name for other in outer}
        objectives.append(objective(terms, permutations, by_name))
        if not pending:
            break
    return Descent(permutations, tuple(objectives))


def _improve(
    group: Group, terms: Sequence[Term], permutations: dict[str, torch.Tensor], groups: Mapping[str, Group]
) -> bool:
    """Give a group, with its inner ones, a better arrangement; whether there was one."""
    family = {group.name} | {inner.name for inner in groups.values() if inner.within == group.name}
    touched = [term for term in terms if group.name in term.groups]
    heard = [term for term in touched if term.groups - family <= permutations.keys()]
    found = _arrange(group, heard, permutations, groups)
    if group.name in permutations:
        # The gradient of a quadratic block and the inner descent may both mislead: only a gain counts.
        before, after = (objective(touched, chosen, groups) for chosen in (permutations, permutations | found))
        if after <= before + ROUNDING * _size(touched):
            return False
    permutations.update(found)
    return True


def _arrange(
    group: Group, terms: Sequence[Term], permutations: Permutations, groups: Mapping[str, Group]
) -> dict[str, torch.Tensor]:
    """The best arrangement of a group and its inner ones by the terms that are heard."""
    inner = [replace(other, within=None) for other in groups.values() if other.within == group.name]
    if not inner:
        return {group.name: best_arrangement(unit_scores(terms, group, permutations, groups), rotation=group.rotation)}
    family = {group.name} | {other.name for other in inner}
    terms = [_settled(term, family, permutations, groups) for term in terms]
    nested = [term for term in terms if term.groups & {other.name for other in inner}]
    plain = [term for term in terms if not term.groups & {other.name for other in inner}]
    scores = unit_scores(plain, group, {}, groups)
    pairs = [[_pair(nested, group, inner, i, j) for j in range(group.size)] for i in range(group.size)]
    scores += torch.tensor([[pair.objectives[-1] for pair in row] for row in pairs], dtype=torch.float64)
    arrangement = best_arrangement(scores)
    chosen = [row[unit].permutations for row, unit in zip(pairs, arrangement.tolist(), strict=True)]
    return {group.name: arrangement, **stacked(chosen)}


def _settled(term: Term, family: set[str], permutations: Permutations, groups: Mapping[str, Group]) -> Term:
    """A block in float64 in which all groups but a family are moved for good: their axes are no group's any more."""
    held = {name: value for name, value in permutations.items() if name not in family}
    moving = moved(term.moving, term.axes, held, groups).double()
    axes = tuple(axis if axis in family else ANY for axis in term.axes)
    return Term(term.fixed.double(), moving, axes)


def _pair(terms: Sequence[Term], group: Group, inner: Sequence[Group], unit: int, other: int) -> Descent:
    """How well a unit of one model fits a unit of the other, their inner groups arranged for the pair."""
    return descend([without_axis(term, group.name, unit, other) for term in terms], inner, start={})


def _neighbours(group: Group, terms: Sequence[Term]) -> set[str]:
    """Names of the groups whose best arrangement may depend on this one's."""
    repeated = {group.name for term in terms if term.axes.count(group.name) > 1}
    shared = set().union(*(term.groups for term in terms if group.name in term.groups))
    return shared - {group.name} | repeated


def _size(terms: Sequence[Term]) -> float:
    """The largest that the terms' sum could be."""
    return sum(float(term.fixed.double().norm() * term.moving.double().norm()) for term in terms)
