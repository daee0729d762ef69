"""Trainable tokens: rows of an embedding that take the place of the base's."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from modeconn.adapters.kinds.biases import trained_rows
from modeconn.adapters.kinds.kind import Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.per_module import finished
from modeconn.adapters.kinds.values import is_tokens
from modeconn.adapters.update import Update
from modeconn.errors import AdapterError, listed

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

_ROWS = ".trainable_tokens_delta"
_INNER = ".base_layer"


def read_tokens(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort the tensors of trained tokens; every one is used.

    Raises:
        AdapterError: If a tensor is left over, or the settings do not name as many tokens as there are rows.
    """
    unread = Unread(tensors, config)
    tokens = tuple(config.raw.get("token_indices") or ())
    rows = {module: unread.take(module, _ROWS) for module in unread.modules(_ROWS)}
    _refuse_wrapped_twice(config, [module for module in rows if module.endswith(_INNER)])
    updates = {
        f"{module}.weight": Update.of(
            replace(trained_rows(config, module, found, tokens, "token_indices"), alone=len(rows) == 1)
        )
        for module, found in rows.items()
    }
    return finished(unread, updates, "a trainable_tokens_delta of each embedding")


def _refuse_wrapped_twice(config: "AdapterConfig", modules: Sequence[str]) -> None:
    """Raise if a layer was named beside the embedding that it is tied to: PEFT wraps it twice and cannot run it."""
    if modules:
        raise AdapterError(
            f"{config.origin} trains the rows of a tied layer twice",
            expected="the embedding alone in target_modules: layers that are tied to it follow",
            got=f"two sets of rows of {listed(module.removesuffix(_INNER) for module in modules)}",
            remedy="train again with the embedding alone; PEFT itself loads this adapter and cannot run it",
        )


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
