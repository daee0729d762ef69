"""LN tuning: norms, or other modules, whose parameters take the place of the base's."""

from typing import TYPE_CHECKING

from modeconn.adapters.kinds.kind import PREFIX, Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.per_module import finished
from modeconn.adapters.kinds.replaced import Substitute
from modeconn.adapters.update import Update

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

_MARK = ".ln_tuning_layers."


def read_layernorm(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort the tensors of LN tuning (Zhao 2023, arXiv 2312.11420); every one is used.

    Raises:
        AdapterError: If a tensor is left over.
    """
    unread = Unread(tensors, config)
    names = sorted(name for name in tensors if name.startswith(PREFIX) and _MARK in name)
    updates = {
        name.removeprefix(PREFIX).replace(_MARK, "."): Update.of(Substitute(unread.rest.pop(name))) for name in names
    }
    return finished(unread, updates, "ln_tuning_layers")


LN_TUNING = Kind("LN_TUNING", read_layernorm, frozenset())
