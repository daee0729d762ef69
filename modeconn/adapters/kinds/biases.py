"""Biases and rows of embeddings that were trained beside an adapter: what of a file they are."""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from modeconn.adapters.kinds.kind import PREFIX, Unread, trained_biases
from modeconn.adapters.kinds.replaced import Replaced, ReplacedRows
from modeconn.adapters.update import Update
from modeconn.errors import AdapterError

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

_TOKENS = ".token_adapter.trainable_tokens_delta"
_WRAPPED = ".base_layer"


def drop_head_copies(unread: Unread) -> None:
    """Use the second and third copy of a saved module that PEFT writes with bias="all", and of resized embeddings.

    `classifier.bias` is there once more as `classifier.modules_to_save.bias`, and what it was before training as
    `classifier.original_module.bias`. A second copy that differs is left unread.
    """
    for saved in unread.config.modules_to_save:
        for name in [name for name in unread.rest if f"{saved}." in name]:
            plain = name.replace(".modules_to_save.", ".")
            if ".original_module." in name or (plain != name and _equal(unread, plain, name)):
                del unread.rest[name]


def _equal(unread: Unread, first: str, second: str) -> bool:
    """Whether two tensors are there and the same."""
    return first in unread.rest and torch.equal(unread.rest[first], unread.rest[second])


def take_biases(unread: Unread) -> dict[str, Update]:
    """Use the biases of the base that were trained (bias="all", or "lora_only"), by the base's parameter names."""
    if not trained_biases(unread.config.raw):
        return {}
    names = [n for n in unread.rest if n.startswith(PREFIX) and n.endswith(".bias") and ".lora_" not in n]
    return {
        name.removeprefix(PREFIX).replace(f"{_WRAPPED}.bias", ".bias"): Update.of(Replaced(unread.rest.pop(name)))
        for name in names
    }


def take_tokens(unread: Unread) -> dict[str, Update]:
    """Use the rows of embeddings that were trained (trainable_token_indices), by the base's parameter names.

    Raises:
        AdapterError: If the settings do not name as many tokens as there are rows.
    """
    found, modules = {}, unread.modules(_TOKENS)
    for module in modules:
        rows, tokens = unread.take(module, _TOKENS), _tokens_of(module, unread.config)
        part = trained_rows(unread.config, module, rows, tokens, "trainable_token_indices")
        found[f"{module}.weight"] = Update.of(replace(part, alone=len(modules) == 1))
    return found


def trained_rows(
    config: "AdapterConfig", module: str, rows: torch.Tensor, tokens: tuple[int, ...], setting: str
) -> ReplacedRows:
    """The rows of an embedding that were trained.

    Args:
        config: The adapter's settings.
        module: The embedding.
        rows: The rows.
        tokens: Which they are.
        setting: What the settings call these.

    Raises:
        AdapterError: If there are not as many rows as tokens.
    """
    if rows.ndim != 2 or len(tokens) != len(rows):
        raise AdapterError(
            f"the trained tokens of {module} in {config.origin} do not fit its settings",
            expected=f"{len(tokens)} rows, as {setting} has",
            got=f"a tensor {list(rows.shape)}",
            remedy="use the adapter_config.json that was saved with these weights",
        )
    return ReplacedRows(rows, tokens)


def _tokens_of(module: str, config: "AdapterConfig") -> tuple[int, ...]:
    """The tokens whose rows were trained in a module."""
    named = config.raw.get("trainable_token_indices") or ()
    if not isinstance(named, dict):
        return tuple(named)
    return next((tuple(tokens) for name, tokens in named.items() if module.endswith(name)), ())
