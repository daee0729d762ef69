"""The parts that architectures are made of: linear layers, norms, embeddings and ties, as symmetries."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from modeconn.adapters.symmetry.spec import ANY, Axis, Block, Group, Norm, SymmetrySpec
from modeconn.adapters.symmetry.views import State

Config = Any  # a config of transformers, read by attribute: this package does not load transformers
Axes = tuple[Axis, ...]
RESIDUAL: Axes = ("residual",)
OPEN: Axes = (ANY,)


@dataclass(frozen=True)
class Piece:
    """The symmetries of a part of a model, as in `SymmetrySpec`; its blocks may have groups of other parts as axes."""

    groups: tuple[Group, ...] = ()
    blocks: tuple[Block, ...] = ()
    ties: tuple[tuple[str, str], ...] = ()
    norms: tuple[Norm, ...] = ()


def linear(state: State, module: str, rows: Axes, columns: Axes) -> list[Block]:
    """A linear layer, `[out, in]`, with its bias where it has one."""
    return [Block(f"{module}.weight", (rows, columns)), *_bias(state, module, rows)]


def norm(state: State, module: str, axes: Axes = RESIDUAL) -> list[Block]:
    """A norm's scale, with its bias where it has one."""
    return [Block(f"{module}.weight", (axes,)), *_bias(state, module, axes)]


def embedding(parameter: str) -> Block:
    """A table of vectors of the residual stream, `[rows, D]`."""
    return Block(parameter, (OPEN, RESIDUAL))


def is_tied(state: State, copy: str, source: str, *, by_config: bool) -> bool:
    """Whether a parameter is another one's copy: by its values where the state has both, or else by the config.

    A config alone does not tell: transformers 5 says `tie_word_embeddings=True` of every T5.
    """
    if copy not in state or source not in state:
        return by_config
    return state[copy] is state[source] or torch.equal(state[copy], state[source])


def merged(parts: Iterable[Piece]) -> Piece:
    """Several parts as one."""
    parts = list(parts)
    return Piece(
        groups=tuple(group for part in parts for group in part.groups),
        blocks=tuple(block for part in parts for block in part.blocks),
        ties=tuple(tie for part in parts for tie in part.ties),
        norms=tuple(norm for part in parts for norm in part.norms),
    )


def whole(parts: Iterable[Piece]) -> SymmetrySpec:
    """The symmetries of a model from all its parts.

    Raises:
        AdapterError: If they contradict each other.
    """
    model = merged(parts)
    return SymmetrySpec(model.groups, model.blocks, ties=model.ties, norms=model.norms)


def _bias(state: State, module: str, axes: Axes) -> list[Block]:
    """The bias of a module, if it has one."""
    return [Block(f"{module}.bias", (axes,))] if f"{module}.bias" in state else []
