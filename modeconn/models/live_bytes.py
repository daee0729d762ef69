"""The memory of the tensors that a computation makes, counted while they live: on every device alike."""

import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class LiveBytes(TorchDispatchMode):
    """A context that counts the bytes of tensors that are made in it, as long as they live.

    What a kernel needs for itself while it runs is not seen.

    Attributes:
        now: Bytes of what lives.
        most: The most that lived together.

    Example:
        >>> with LiveBytes() as counted:
        ...     total = (torch.zeros(10) + 1).sum()
        >>> counted.now, counted.most
        (4, 80)
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None  # noqa: ANN401
    ) -> Any:  # noqa: ANN401  # fmt: skip
        known = {one.untyped_storage().data_ptr() for one in _tensors((args, kwargs or {}))}
        found = func(*args, **(kwargs or {}))
        for tensor in _tensors(found):
            storage = tensor.untyped_storage()
            place = storage.data_ptr()
            if place and place not in known and place not in self._known:  # a view makes nothing
                self._known.add(place)
                self.now += storage.nbytes()
                weakref.finalize(storage, self._gone, place, storage.nbytes())
        self.most = max(self.most, self.now)
        return found

    def _gone(self, place: int, size: int) -> None:
        """Storage is given back."""
        self._known.discard(place)
        self.now -= size


def _tensors(value: Any) -> Iterator[torch.Tensor]:  # noqa: ANN401
    """The tensors in what a function takes or gives."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _tensors(one)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for one in value:
            yield from _tensors(one)
