"""Trainable tokens: rows of an embedding that take the place of the base's."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from modeconn.adapters.kinds.biases import trained_rows
from modeconn.adapters.kinds.kind import Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.per_module import finished
from modeconn.adapters.kinds.values import is_tokens
from modeconn.adapters.update import Update

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

_ROWS = ".trainable_tokens_delta"


def read_tokens(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort the tensors of trained tokens; every one is used.

    Raises:
        AdapterError: If a tensor is left over, or the settings do not name as many tokens as there are rows.
    """
    unread = Unread(tensors, config)
    tokens = tuple(config.raw.get("token_indices") or ())
    updates = {
        f"{module}.weight": Update.of(trained_rows(config, module, unread.take(module, _ROWS), tokens, "token_indices"))
        for module in unread.modules(_ROWS)
    }
    return finished(unread, updates, "a trainable_tokens_delta of each embedding")


def _which_rows(config: "AdapterConfig", modules: Sequence[str]) -> Mapping[str, object]:  # noqa: ARG001
    """What else than the tensors decides the update: the rows of other tokens are other coordinates."""
    return {"token_indices": list(config.raw.get("token_indices") or ())}


TOKENS = Kind(
    "TRAINABLE_TOKENS",
    read_tokens,
    frozenset({"init_weights", "token_indices"}),
    fits={"token_indices": is_tokens},
    scalings=_which_rows,
)
