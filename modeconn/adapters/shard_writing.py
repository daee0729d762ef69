"""Full models on disk, written one piece of a tensor at a time: the memory needed is that of a piece."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from modeconn.adapters.shards import SAFE_FILE, SAFE_INDEX
from modeconn.adapters.stored import is_finite
from modeconn.errors import AdapterError

_NAMES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


@dataclass(frozen=True, eq=False)
class TensorToWrite:
    """A tensor that is made while it is written.

    Attributes:
        name: Its name.
        dtype: Its dtype in the file.
        shape: Its shape.
        pieces: Makes its elements, in memory order, in any floating point dtype and pieces of any size.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    pieces: Callable[[], Iterator[torch.Tensor]]

    @property
    def num_bytes(self) -> int:
        """Bytes in the file."""
        return math.prod(self.shape) * self.dtype.itemsize


def write_shards(folder: Path, shards: Sequence[Sequence[TensorToWrite]]) -> None:
    """Write `model.safetensors`, or several shards and their index.

    Args:
        folder: A folder that exists.
        shards: The tensors of each file.

    Raises:
        AdapterError: If a number does not fit its dtype.
        OSError: If the disk refuses.
    """
    if len(shards) == 1:
        write_safetensors(folder / SAFE_FILE, shards[0])
        return
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_safetensors(folder / file, shard)
        places |= {tensor.name: file for tensor in shard}
    total = sum(tensor.num_bytes for shard in shards for tensor in shard)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
    (folder / SAFE_INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def write_safetensors(file: Path, tensors: Sequence[TensorToWrite]) -> None:
    """Write a safetensors file: a header that says where each tensor will lie, then the tensors.

    Args:
        file: A file that does not exist yet.
        tensors: In any order.
    """
    # Wide numbers first, as the safetensors library does: every tensor is aligned to its dtype.
    ordered = sorted(tensors, key=lambda tensor: (-tensor.dtype.itemsize, tensor.name))
    with file.open("xb") as handle:
        handle.write(_header(ordered))
        for tensor in ordered:
            written = 0
            for piece in tensor.pieces():
                narrow = piece.reshape(-1).to(tensor.dtype).contiguous()
                _check_finite(tensor, narrow)
                written += handle.write(narrow.view(torch.uint8).numpy().data)
            if written != tensor.num_bytes:
                raise RuntimeError(f"{tensor.name} has {written} bytes instead of {tensor.num_bytes}")


def _header(tensors: Sequence[TensorToWrite]) -> bytes:
    """The length of the JSON header, and the header, padded to a multiple of 8 bytes."""
    entries: dict[str, Mapping[str, object]] = {"__metadata__": {"format": "pt"}}
    place = 0
    for tensor in tensors:
        end = place + tensor.num_bytes
        kind = _NAMES[tensor.dtype]
        entries[tensor.name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _check_finite(tensor: TensorToWrite, values: torch.Tensor) -> None:
    """Raise if numbers were lost in rounding."""
    if not is_finite(values):
        raise AdapterError(
            f"{tensor.name} cannot be written in {tensor.dtype}",
            expected="numbers that the dtype can hold",
            got=f"{int((~values.isfinite()).sum())} that became infinite or NaN",
            remedy="write the model in bfloat16 or float32",
        )
