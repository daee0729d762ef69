"""What may be moved in a model without changing its function, as data: groups of units, and where they lie."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from modeconn.errors import AdapterError, listed

ANY = -1  # a fixed axis of any size, such as a vocabulary
Axis = str | int


@dataclass(frozen=True)
class Group:
    """Interchangeable units: every parameter that has them as an axis must be moved in the same way.

    Attributes:
        name: Name of the group, such as "layers.0.mlp".
        size: Number of units, n.
        within: Name of the outer group, if each of its units has an arrangement of its own: the inner dimensions of a
            head are permuted head by head. None for a group that is arranged once.
        rotation: Whether any orthogonal matrix is allowed, not only permutations.
    """

    name: str
    size: int
    within: str | None = None
    rotation: bool = False


@dataclass(frozen=True)
class Block:
    """Where groups lie in one parameter, or in one part of it.

    Attributes:
        parameter: Name in the state dict.
        dims: For each dimension of the tensor the axes that it is made of, outermost first: a group's name, or the
            size of an axis that does not move (`ANY` if it is alone in its dimension). The rows of a query projection
            are `("heads", 64)`.
        part: Dimension, number and count, if the parameter holds several equal blocks side by side along one
            dimension, as GPT-2's `c_attn` does; `dims` then describe this one.

    Example:
        >>> Block("q_proj.weight", (("heads", 64), ("residual",))).axes
        ('heads', 64, 'residual')
    """

    parameter: str
    dims: tuple[tuple[Axis, ...], ...]
    part: tuple[int, int, int] | None = None

    @property
    def axes(self) -> tuple[Axis, ...]:
        """All axes in order."""
        return tuple(axis for dim in self.dims for axis in dim)


@dataclass(frozen=True)
class Norm:
    """An RMS norm whose scale can be multiplied into what reads its output.

    Attributes:
        scale: Name of the scale, `[D]`.
        readers: Names of the parameters that read the normalised residual stream, and nothing else.
    """

    scale: str
    readers: tuple[str, ...]


@dataclass(frozen=True)
class SymmetrySpec:
    """The symmetries of one architecture.

    Attributes:
        groups: Groups of units; the inner groups of one follow it.
        blocks: Where they lie; every parameter of the model has at least one block.
        ties: Pairs of a tied copy and its source, such as `("lm_head.weight", "model.embed_tokens.weight")`. A state
            may hold the copy or leave it out; it is not a parameter of its own.
        norms: RMS norms whose scales can be folded; empty for models with layer norms, whose residual stream
            can be permuted but not rotated.
        is_folded: Whether the states have their norms folded, so that the residual stream can be rotated.

    Raises:
        AdapterError: If groups and blocks contradict each other.
    """

    groups: tuple[Group, ...]
    blocks: tuple[Block, ...]
    ties: tuple[tuple[str, str], ...] = ()
    norms: tuple[Norm, ...] = ()
    is_folded: bool = False

    def __post_init__(self) -> None:
        groups = {group.name: group for group in self.groups}
        wrong = [] if len(groups) == len(self.groups) else ["two groups of one name"]
        wrong += [told for group in self.groups for told in _wrong_group(group, groups)]
        wrong += [told for block in self.blocks for told in _wrong_block(block, groups)]
        if wrong:
            raise AdapterError(
                "the symmetries contradict each other",
                expected="groups of different names; blocks whose axes are groups, inner ones after their outer one",
                got=listed(wrong),
                remedy="mend the groups or the blocks of the SymmetrySpec",
            )

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters, each once, tied copies left out."""
        return tuple(dict.fromkeys(block.parameter for block in self.blocks))

    def group(self, name: str) -> Group:
        """The group of this name."""
        return next(group for group in self.groups if group.name == name)

    def inner(self, name: str) -> tuple[Group, ...]:
        """The groups within the group of this name."""
        return tuple(group for group in self.groups if group.within == name)

    def folded(self) -> "SymmetrySpec":
        """The symmetries after `fold_norms`: the residual stream may be rotated, a tied head is a parameter of its own.

        Raises:
            AdapterError: If the architecture has no norms that can be folded.
        """
        if self.is_folded:
            return self
        if not self.norms:
            raise AdapterError(
                "the residual stream of this architecture cannot be rotated",
                expected="RMS norms, whose scales can be multiplied into the projections that follow",
                got="layer norms, which subtract the mean over the units",
                remedy="match its permutations: use the spec as it is",
            )
        read = {reader for norm in self.norms for reader in norm.readers}
        heads = tuple(Block(copy, ((ANY,), ("residual",))) for copy, _ in self.ties if copy in read)
        scales = {norm.scale for norm in self.norms}
        size = self.group("residual").size
        return replace(
            self,
            groups=tuple(replace(group, rotation=group.rotation or group.name == "residual") for group in self.groups),
            # A scale of ones stays one: it is no longer an axis that moves.
            blocks=tuple(replace(b, dims=((size,),)) if b.parameter in scales else b for b in self.blocks) + heads,
            ties=tuple((copy, source) for copy, source in self.ties if copy not in read),
            is_folded=True,
        )


def _wrong_group(group: Group, groups: Mapping[str, Group]) -> Iterator[str]:
    """What is wrong with a group."""
    if group.within is not None and (group.within not in groups or groups[group.within].within is not None):
        yield f"{group.name} is within {group.within}, which is no outer group"
    if group.rotation and (group.within is not None or any(other.within == group.name for other in groups.values())):
        yield f"{group.name} can be rotated and has an outer or inner group"


def _wrong_block(block: Block, groups: Mapping[str, Group]) -> Iterator[str]:
    """What is wrong with a block."""
    nested = {name for group in groups.values() if group.within for name in (group.name, group.within)}
    seen: set[str | None] = {None}  # what an inner group may be within
    for axis in (axis for axis in block.axes if isinstance(axis, str)):
        if axis not in groups:
            yield f"{block.parameter} has the axis {axis}, which is no group"
        elif groups[axis].within not in seen:
            yield f"{block.parameter} has {axis} before or without {groups[axis].within}"
        elif axis in seen & nested:
            yield f"{block.parameter} has {axis} twice"
        seen.add(axis)
    if any(ANY in dim and len(dim) > 1 for dim in block.dims):
        yield f"{block.parameter} has an axis of any size beside others"
