"""The parameters of any torch module as a point: every tensor is a coordinate of its own."""

from typing import TYPE_CHECKING

from modeconn.adapters.kinds.kind import PREFIX, Kind, Parts, Tensors

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig


def read_module(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """All tensors as they are, under their names in the module."""
    del config
    return Parts({}, {name.removeprefix(PREFIX): value for name, value in tensors.items()})


# Nothing is added to a base: the parameters themselves are combined, in every space alike.
MODULE = Kind(name="MODULE", read=read_module, settings=frozenset())
