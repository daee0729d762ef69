"""What the kinds have in common that change one weight of each module that they name."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from modeconn.adapters.kinds.biases import drop_head_copies, take_biases
from modeconn.adapters.kinds.kind import Parts, Unread
from modeconn.adapters.part import Part
from modeconn.adapters.update import Update
from modeconn.errors import AdapterError

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

_BASE_COPY = ".base_layer.weight"


def read_per_module(
    unread: Unread, suffixes: Sequence[str], read: Callable[[Unread, str], Part | None], expected: str
) -> Parts:
    """The parts of a file that holds a few tensors for each module.

    Args:
        unread: The file's tensors.
        suffixes: Each module has a tensor whose name ends in one of these; they begin with a dot.
        read: Takes a module's tensors and gives the change of its weight; None if they change nothing.
        expected: The tensors of the kind, for messages.

    Raises:
        AdapterError: If a tensor is missing or left over.
    """
    modules = sorted({module for suffix in suffixes for module in unread.modules(suffix)})
    parts = {f"{module}.weight": read(unread, module) for module in modules}
    return finished(unread, {name: Update.of(part) for name, part in parts.items() if part is not None}, expected)


def finished(unread: Unread, updates: Mapping[str, Update], expected: str) -> Parts:
    """The parts of a file whose updates were read: with saved modules, trained biases and copies of embeddings.

    Raises:
        AdapterError: If a tensor is left over.
    """
    copied = [module for module in unread.modules(_BASE_COPY) if f"{module}.weight" in updates]
    copies = {f"{module}.weight": unread.take(module, _BASE_COPY) for module in copied}
    drop_head_copies(unread)
    saved = unread.take_saved()
    updates = dict(sorted({**updates, **take_biases(unread)}.items()))
    return unread.finish(updates, saved, expected, copies)


def misfit(
    config: "AdapterConfig", module: str, expected: str, tensors: Mapping[str, torch.Tensor], *, most: int = 2
) -> AdapterError:
    """The error for a module's tensors that cannot belong together.

    Args:
        config: The adapter's settings.
        module: The module.
        expected: The shapes that fit.
        tensors: What was found, by short names.
        most: The most dimensions that a tensor of a matrix has; those of a convolution have more.
    """
    return AdapterError(
        f"the tensors of {module} in {config.origin} do not fit together",
        expected=expected,
        got=", ".join(f"{name} {list(value.shape)}" for name, value in tensors.items()),
        remedy="use the adapter_config.json that was saved with these weights"
        + ("; convolutions are not supported" if any(value.ndim > most for value in tensors.values()) else ""),
    )
