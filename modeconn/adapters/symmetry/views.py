"""A state dict cut into views with one axis for each group, and put together again."""

import math
from collections.abc import Mapping, Sequence

import torch

from modeconn.adapters.symmetry.spec import ANY, Block, SymmetrySpec
from modeconn.errors import AdapterError, listed

State = Mapping[str, torch.Tensor]


def check_state(state: State, spec: SymmetrySpec, what: str) -> None:
    """Raise unless a state has the parameters of a spec, with their shapes, finite, and its ties hold.

    Args:
        state: Tensors by name.
        spec: The symmetries.
        what: How the message names the state.

    Raises:
        AdapterError: With all differences.
    """
    copies = {copy for copy, _ in spec.ties}
    differences = [f"{name} missing" for name in set(spec.parameters) - state.keys()]
    differences += [f"{name} unexpected" for name in state.keys() - set(spec.parameters) - copies]
    differences += [
        f"{block.parameter} {list(state[block.parameter].shape)}"
        for block in spec.blocks
        if block.parameter in state and view_shape(state[block.parameter], block, spec) is None
    ]
    if differences:
        raise AdapterError(
            f"{what} does not have the parameters of the symmetries",
            expected=f"{len(spec.parameters)} tensors as in the architecture that the spec was built for",
            got=listed(set(differences)),
            remedy="build the spec from this model's config and state, and match models of one architecture",
        )
    _check_values(state, spec, what)


def _check_values(state: State, spec: SymmetrySpec, what: str) -> None:
    """Raise if a tensor cannot be compared, a tie is broken, or a folded norm is not one."""
    wrong = [
        f"{name} is {'not finite' if state[name].is_floating_point() else state[name].dtype}"
        for name in spec.parameters
        if not state[name].is_floating_point() or not state[name].isfinite().all()
    ]
    wrong += [
        f"{copy} differs from {source}"
        for copy, source in spec.ties
        if copy in state and not (state[copy] is state[source] or torch.equal(state[copy], state[source]))
    ]
    if spec.is_folded:
        wrong += [f"{norm.scale} is not one" for norm in spec.norms if not bool((state[norm.scale] == 1).all())]
    if wrong:
        raise AdapterError(
            f"{what} has values that cannot be moved",
            expected="finite floating-point weights, tied copies equal, and scales of one where norms are folded",
            got=listed(wrong),
            remedy="load the unquantised checkpoint, build the spec from it, and call fold_norms before a folded spec",
        )


def view_shape(tensor: torch.Tensor, block: Block, spec: SymmetrySpec) -> list[int] | None:
    """Shape of a block's view, one size for each axis; None if the tensor does not fit."""
    shape = list(tensor.shape)
    if block.part is not None and block.part[0] < len(shape):
        shape[block.part[0]], rest = divmod(shape[block.part[0]], block.part[2])
        if rest:
            return None
    if len(shape) != len(block.dims):
        return None
    view = []
    for length, dim in zip(shape, block.dims, strict=True):
        sizes = [spec.group(axis).size if isinstance(axis, str) else axis for axis in dim]
        sizes = [length] if sizes == [ANY] else sizes
        if math.prod(sizes) != length:
            return None
        view += sizes
    return view


def cut(state: State, spec: SymmetrySpec) -> list[torch.Tensor]:
    """A view for each block of a checked state, with one dimension for each axis."""
    views = []
    for block in spec.blocks:
        tensor = state[block.parameter]
        shape = view_shape(tensor, block, spec)
        assert shape is not None  # the state has been checked
        views.append(_part(tensor, block).reshape(shape))
    return views


def join(views: Sequence[torch.Tensor], like: State, spec: SymmetrySpec) -> dict[str, torch.Tensor]:
    """Views as a state of the names and shapes of another; tied copies stay the same tensor as their source."""
    pieces: dict[str, list[tuple[Block, torch.Tensor]]] = {}
    for block, view in zip(spec.blocks, views, strict=True):
        pieces.setdefault(block.parameter, []).append((block, view))
    joined = {}
    for name, parts in pieces.items():
        tensors = [view.reshape(_part(like[name], block).shape) for block, view in parts]
        joined[name] = torch.cat(tensors, dim=parts[0][0].part[0]) if parts[0][0].part else tensors[0]
    sources = dict(spec.ties)
    return {name: joined[sources.get(name, name)] for name in like}


def _part(tensor: torch.Tensor, block: Block) -> torch.Tensor:
    """The part of a parameter that a block describes."""
    if block.part is None:
        return tensor
    dimension, number, count = block.part
    return tensor.chunk(count, dim=dimension)[number]
