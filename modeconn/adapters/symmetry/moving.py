"""Permutations and rotations of a model's units, applied to a state dict."""

from collections.abc import Mapping

import torch

from modeconn.adapters.symmetry.spec import Axis, Group, SymmetrySpec
from modeconn.adapters.symmetry.views import State, check_state, cut, join
from modeconn.errors import AdapterError, listed

Permutations = Mapping[str, torch.Tensor]


def apply(permutations: Permutations, state: State, spec: SymmetrySpec) -> dict[str, torch.Tensor]:
    """The same function with its units moved: `new[i] = old[p[i]]` on every axis of a group.

    For a group within another, unit i of the outer group has the arrangement `p[i]`: `new[i, j] = old[o[i], p[i, j]]`,
    o that of the outer group. For a rotation, `new = Q old`. Permuted tensors keep their bits; rotated ones are
    computed in float64 and rounded to their dtype.

    Args:
        permutations: By group: `[n]`, `[outer n, n]` for a group within another, `[n, n]` for a rotation. Groups that
            are left out stay as they are.
        state: Tensors by name.
        spec: The symmetries.

    Returns:
        A new state; tensors that do not move are those of `state`.

    Raises:
        AdapterError: If a permutation or the state does not fit the spec.

    Example:
        >>> from modeconn.adapters.symmetry import Block, Group, SymmetrySpec
        >>> spec = SymmetrySpec((Group("mlp", 2),), (Block("up", (("mlp",), (1,))), Block("down", ((1,), ("mlp",)))))
        >>> state = {"up": torch.tensor([[1.0], [2.0]]), "down": torch.tensor([[3.0, 4.0]])}
        >>> apply({"mlp": torch.tensor([1, 0])}, state, spec)
        {'up': tensor([[2.],
                [1.]]), 'down': tensor([[4., 3.]])}
    """
    check_state(state, spec, "the state")
    check_permutations(permutations, spec)
    groups = {group.name: group for group in spec.groups}
    views = [
        moved(view, block.axes, permutations, groups) for view, block in zip(cut(state, spec), spec.blocks, strict=True)
    ]
    return join(views, state, spec)


def moved(
    view: torch.Tensor,
    axes: tuple[Axis, ...],
    permutations: Permutations,
    groups: Mapping[str, Group],
    *,
    held: int | None = None,
) -> torch.Tensor:
    """A view with each of its axes moved but the one that is held; an outer axis comes before its inner ones."""
    for dimension, axis in enumerate(axes):
        if isinstance(axis, int) or axis not in permutations or dimension == held:
            continue
        group, permutation = groups[axis], permutations[axis].to(view.device)
        if group.rotation:
            turned = view.double().movedim(dimension, -1) @ permutation.double().T  # [..., n]
            view = turned.movedim(-1, dimension).to(view.dtype)
        elif group.within is None:
            view = view.index_select(dimension, permutation)
        else:
            view = _rearranged(view, axes.index(group.within), dimension, permutation)
    return view


def _rearranged(view: torch.Tensor, outer: int, inner: int, permutation: torch.Tensor) -> torch.Tensor:
    """A view whose inner axis is arranged by `permutation[i]`, `[outer n, n]`, at position i of the outer axis."""
    rows = torch.arange(len(permutation), device=view.device)[:, None]  # [outer n, 1]
    return view.movedim((outer, inner), (0, 1))[rows, permutation].movedim((0, 1), (outer, inner))


def identity(spec: SymmetrySpec) -> dict[str, torch.Tensor]:
    """The arrangement of every group that moves nothing."""
    return {group.name: _resting(group, spec) for group in spec.groups}


def random_permutations(spec: SymmetrySpec, *, seed: int) -> dict[str, torch.Tensor]:
    """A random arrangement of every group, uniform; for rotations by the Haar measure.

    Args:
        spec: The symmetries.
        seed: Seed of the generator.

    Returns:
        Arrangements by group, as `apply` takes them.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = {}
    for group in spec.groups:
        if group.rotation:
            gaussian = torch.randn(group.size, group.size, generator=generator, dtype=torch.float64)
            q, r = torch.linalg.qr(gaussian)
            drawn[group.name] = q * r.diagonal().sign()  # without the signs, QR is not uniform
        else:
            noise = torch.rand(_resting(group, spec).shape, generator=generator)
            drawn[group.name] = noise.argsort(dim=-1)
    return drawn


def _resting(group: Group, spec: SymmetrySpec) -> torch.Tensor:
    """The arrangement of one group that moves nothing."""
    if group.rotation:
        return torch.eye(group.size, dtype=torch.float64)
    units = torch.arange(group.size)
    return units if group.within is None else units.expand(spec.group(group.within).size, -1)


def check_permutations(permutations: Permutations, spec: SymmetrySpec) -> None:
    """Raise an `AdapterError` unless every arrangement is one of a group of the spec."""
    groups = {group.name: group for group in spec.groups}
    wrong = [f"{name} is not a group" for name in permutations.keys() - groups.keys()]
    for name in permutations.keys() & groups.keys():
        given, resting = permutations[name], _resting(groups[name], spec)
        if given.shape != resting.shape:
            wrong.append(f"{name} {list(given.shape)} instead of {list(resting.shape)}")
        elif not _is_arrangement(given, resting):
            wrong.append(f"{name} is no {'orthogonal matrix' if groups[name].rotation else 'permutation'}")
    if wrong:
        raise AdapterError(
            "the permutations do not fit the symmetries",
            expected="for groups of the spec: each unit once; an orthogonal matrix where a group can be rotated",
            got=listed(wrong),
            remedy="take them from match or random_permutations with the same spec",
        )


def _is_arrangement(given: torch.Tensor, resting: torch.Tensor) -> bool:
    """Whether an arrangement has every unit once, or is orthogonal to 1e-6 where the resting one is a matrix."""
    if resting.is_floating_point():
        product = given.double() @ given.double().T
        return bool(((product.cpu() - resting).abs() < 1e-6).all())
    return given.dtype == torch.int64 and torch.equal(given.sort(dim=-1).values.cpu(), resting)
