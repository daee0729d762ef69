"""A module that computes something else for a while."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def replaced_forward(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """A context in which a module is another function; afterwards it has the `forward` that it had, or its class's.

    Args:
        module: The module; its hooks stay.
        forward: What it computes instead.
    """
    kept = vars(module).get("forward")
    setattr(module, "forward", forward)  # noqa: B010
    try:
        yield
    finally:
        delattr(module, "forward")
        if kept is not None:
            setattr(module, "forward", kept)  # noqa: B010
