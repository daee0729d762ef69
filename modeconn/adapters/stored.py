"""Tensors of full models that are read when they are asked for: a 14 GB checkpoint is opened without being loaded."""

import hashlib
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from modeconn.adapters.layout import Layout
from modeconn.errors import AdapterError

_PIECE = 1 << 22  # elements that are hashed at once


@dataclass(frozen=True, eq=False)
class StoredTensor(ABC):
    """One tensor, somewhere, of which the whole or a stretch can be read.

    Attributes:
        name: Its name in the file.
        dtype: The dtype in which it is stored.
        shape: Its shape.
        origin: The file, for messages and to tell shards apart.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    origin: Path

    @property
    def numel(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @abstractmethod
    def _stretch(self, start: int, stop: int) -> torch.Tensor:
        """The elements from `start` to `stop`, in memory order, as a new tensor or one that is not to be changed."""

    def stretch(self, start: int, stop: int) -> torch.Tensor:
        """Some elements in memory order, `[stop - start]`, in the stored dtype.

        Raises:
            AdapterError: If they cannot be read, or are not finite.
        """
        values = self._stretch(start, stop)
        if not is_finite(values):
            raise AdapterError(
                f"{self.name} in {self.origin} holds NaN or infinite values",
                expected="finite numbers",
                got=f"{int((~values.isfinite()).sum())} others among elements {start} to {stop}",
                remedy="the training diverged: take an earlier checkpoint",
            )
        return values

    def read(self) -> torch.Tensor:
        """The tensor in the stored dtype.

        Raises:
            AdapterError: If it cannot be read, or is not finite.
        """
        return self.stretch(0, self.numel).view(self.shape)

    def digest(self) -> str:
        """SHA-256 in hex of dtype, shape and bytes; a few MB are in memory at a time."""
        found = hashlib.sha256(f"{self.dtype} {self.shape}".encode())
        for start in range(0, self.numel, _PIECE):
            piece = self.stretch(start, min(start + _PIECE, self.numel))
            found.update(piece.contiguous().view(torch.uint8).numpy().data)
        return found.hexdigest()


def is_finite(values: torch.Tensor) -> bool:
    """Whether all numbers are finite; the extremes say so, a hundred times faster than `isfinite` of each."""
    if values.numel() == 0 or not values.is_floating_point():
        return True
    return all(bool(extreme.isfinite()) for extreme in torch.aminmax(values))


def stamp_of(file: Path | int) -> tuple[int, int]:
    """Size in bytes and time of the last change in ns of a file: who reads in pieces can tell that it changed."""
    status = os.stat(file)
    return status.st_size, status.st_mtime_ns


@dataclass(frozen=True, eq=False)
class FileTensor(StoredTensor):
    """A stretch of a file. It is read, not mapped: a page of a mapped file counts as memory, and a cut file kills.

    Attributes:
        begin: Where it begins, in bytes from the start of the file.
        stamp: Size and time of change of the file when it was opened (see `stamp_of`).
    """

    begin: int
    stamp: tuple[int, int]

    def _stretch(self, start: int, stop: int) -> torch.Tensor:
        """The elements, read into new memory."""
        values = torch.empty(stop - start, dtype=self.dtype)
        wanted = values.view(torch.uint8).numpy().data
        try:
            with self.origin.open("rb", buffering=0) as handle:
                if stamp_of(handle.fileno()) != self.stamp:
                    raise OSError("the file has changed since")
                handle.seek(self.begin + start * self.dtype.itemsize)
                done = 0
                while done < len(wanted):  # one call reads 2 GB at most
                    count = handle.readinto(wanted[done:])
                    if not count:
                        raise OSError(f"the file ends {len(wanted) - done} bytes early")
                    done += count
        except OSError as error:
            raise AdapterError(
                f"cannot read {self.name} from {self.origin}",
                expected="the file as it was when it was opened",
                got=f"{type(error).__name__}: {error}",
                remedy="leave the checkpoint where it is, unchanged, until the work is done",
            ) from error
        return values


@dataclass(frozen=True, eq=False)
class LoadedTensor(StoredTensor):
    """A tensor in memory, or in the mapped file of a pickle.

    Attributes:
        values: The tensor.
    """

    values: torch.Tensor

    @classmethod
    def of(cls, name: str, values: torch.Tensor, origin: Path = Path("memory")) -> "LoadedTensor":
        """A tensor under a name."""
        return cls(name, values.dtype, tuple(values.shape), origin, values.detach())

    def _stretch(self, start: int, stop: int) -> torch.Tensor:
        """A view where the tensor is contiguous."""
        return self.values.reshape(-1)[start:stop]


class StoredTensors(Mapping[str, torch.Tensor]):
    """Stored tensors by name; looking one up reads it, as float32.

    Args:
        stored: Name -> tensor.
    """

    def __init__(self, stored: Mapping[str, StoredTensor]) -> None:
        self.stored = dict(stored)

    def __getitem__(self, name: str) -> torch.Tensor:
        # A copy: what lies in a mapped file may change under a reader.
        return self.stored[name].read().to(torch.float32, copy=True)

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def layout(self) -> Layout:
        """Names and shapes, without reading."""
        return Layout(tuple((name, self.stored[name].shape) for name in sorted(self.stored)))
