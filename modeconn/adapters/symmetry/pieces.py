"""The parts that architectures are made of: linear layers, norms, embeddings and ties, as symmetries."""

from collections.abc import Iterable
from typing import Any

import torch

from modeconn.adapters.symmetry.spec import ANY, Axis, Block, SymmetrySpec
from modeconn.adapters.symmetry.views import State

Config = Any  # a config of transformers, read by attribute: this package does not load transformers
Axes = tuple[Axis, ...]
RESIDUAL: Axes = ("residual",)
OPEN: Axes = (ANY,)


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


def merged(specs: Iterable[SymmetrySpec]) -> SymmetrySpec:
    """The symmetries of all parts together."""
    parts = list(specs)
    return SymmetrySpec(
        groups=tuple(group for part in parts for group in part.groups),
        blocks=tuple(block for part in parts for block in part.blocks),
        ties=tuple(tie for part in parts for tie in part.ties),
        norms=tuple(norm for part in parts for norm in part.norms),
    )


def _bias(state: State, module: str, axes: Axes) -> list[Block]:
    """The bias of a module, if it has one."""
    return [Block(f"{module}.bias", (axes,))] if f"{module}.bias" in state else []
