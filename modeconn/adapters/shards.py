"""The weights of a full model's folder: safetensors files and their index, checked before a number is read."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from modeconn.adapters.stored import FileTensor, LoadedTensor, StoredTensor, stamp_of
from modeconn.errors import AdapterError, listed

SAFE_FILE, SAFE_INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLE_FILE, PICKLE_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
_BESIDE = ("config.json", "modeconn.json")
MODEL_FILES = (SAFE_FILE, SAFE_INDEX, "model-*.safetensors", *_BESIDE)  # what to fetch of a model
OLD_MODEL_FILES = (PICKLE_FILE, PICKLE_INDEX, "pytorch_model-*.bin", *_BESIDE)
_LARGEST_HEADER = 100_000_000  # bytes; what the safetensors library allows
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def has_full_model(folder: Path) -> bool:
    """Whether a folder holds the weights of a full model under a name that transformers gives them."""
    return any((folder / name).exists() for name in (SAFE_FILE, SAFE_INDEX, PICKLE_FILE, PICKLE_INDEX))


def open_shards(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of a full model's folder by their names in the files, in the files' order.

    Raises:
        AdapterError: If a file is missing, broken, cut off, or holds more than tensors; if the index names files
            outside of the folder, or tensors and index do not agree.
    """
    folder = folder.absolute()  # the files are read later, wherever the process is then
    if (folder / SAFE_FILE).exists():
        return _named(read_header(folder / SAFE_FILE))
    if (folder / SAFE_INDEX).exists():
        return _indexed(folder, SAFE_INDEX)
    if (folder / PICKLE_FILE).exists():
        return _named(read_pickle(folder / PICKLE_FILE))
    if (folder / PICKLE_INDEX).exists():
        return _indexed(folder, PICKLE_INDEX)
    raise AdapterError(
        f"the model in {folder} has no weights",
        expected=f"{SAFE_FILE}, {SAFE_INDEX} with its shards, or {PICKLE_FILE}",
        got=listed(file.name for file in folder.iterdir()),
        remedy="give the folder that save_pretrained of transformers wrote",
    )


def read_header(file: Path) -> list[StoredTensor]:
    """The tensors of a safetensors file, found in its header; the numbers stay where they are.

    Raises:
        AdapterError: If the file is not one, is cut off, or holds float8 numbers.
    """
    try:
        size, _ = stamp = stamp_of(file)
        with file.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if size < 8 or length > min(_LARGEST_HEADER, size - 8):
                raise _broken(file, f"a header of {length:,} bytes in a file of {size:,}")
            header = json.loads(handle.read(length), object_pairs_hook=_unique)
    except (OSError, ValueError, RecursionError) as error:
        raise _broken(file, f"{type(error).__name__}: {str(error)[:200]}") from error
    if not isinstance(header, dict):
        raise _broken(file, f"a {type(header).__name__} as header")
    header.pop("__metadata__", None)
    found = [_entry(file, name, entry, 8 + length, stamp) for name, entry in header.items()]
    _check_layout(file, found, begin=8 + length, size=size)
    return sorted(found, key=lambda tensor: tensor.begin)  # type: ignore[return-value]  # FileTensors are StoredTensors


def _entry(file: Path, name: str, entry: object, data: int, stamp: tuple[int, int]) -> FileTensor:
    """One tensor of a header, checked."""
    try:
        kind, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]  # type: ignore[index]
        numbers = [*shape, begin, end]
    except (TypeError, KeyError, ValueError) as error:
        raise _broken(file, f"an entry {str(entry)[:80]!r} for {name}") from error
    if not isinstance(kind, str):
        raise _broken(file, f"dtype {str(kind)[:80]} for {name}")
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise _broken(file, f"shape {str(shape)[:80]} at {begin}, {end} for {name}")
    if kind not in _DTYPES:
        raise AdapterError(
            f"{file} holds numbers of a dtype that cannot be read",
            expected=listed(_DTYPES),
            got=f"{kind} in {name}" + (" (float8 needs scales that the file's own code knows)" if "F8" in kind else ""),
            remedy="save the model again in bfloat16 or float32",
        )
    if end - begin != math.prod(shape) * _DTYPES[kind].itemsize:
        raise _broken(file, f"{end - begin} bytes for {name} of shape {shape} and dtype {kind}")
    return FileTensor(name, _DTYPES[kind], tuple(shape), file, data + begin, stamp)


def _check_layout(file: Path, tensors: Iterable[FileTensor], *, begin: int, size: int) -> None:
    """Raise unless the tensors fill the file, one after the other."""
    place = begin
    for tensor in sorted(tensors, key=lambda one: (one.begin, one.numel)):
        if tensor.begin != place:
            raise _broken(file, f"{tensor.name} at byte {tensor.begin} where byte {place} is free")
        place += tensor.numel * tensor.dtype.itemsize
    if place != size:
        raise _broken(file, f"{size:,} bytes where the header promises {place:,}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without repeated names."""
    if len({name for name, _ in pairs}) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"repeated names: {listed({name for name in names if names.count(name) > 1})}")
    return dict(pairs)


def _broken(file: Path, got: str) -> AdapterError:
    """The error for a file that is not whole or not what its name says."""
    return AdapterError(
        f"cannot read the weights in {file}",
        expected="a whole safetensors file",
        got=got,
        remedy="copy the file again if the copy broke off, or save the model again",
    )


def read_pickle(file: Path) -> list[StoredTensor]:
    """The tensors of an old `pytorch_model.bin`; code in it is refused and does not run.

    Raises:
        AdapterError: If it is broken, or holds more than tensors.
    """
    try:
        try:
            loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        except (RuntimeError, ValueError):  # a pickle from before torch 1.6 cannot be mapped
            loaded = torch.load(file, map_location="cpu", weights_only=True)
        odd = [f"{name} ({type(value).__name__})" for name, value in dict(loaded).items() if not _is_dense(name, value)]
        if odd:
            raise TypeError(f"more than dense tensors: {listed(odd)}")
    except Exception as error:  # torch raises pickle.UnpicklingError for code, and other kinds for broken files
        raise AdapterError(
            f"cannot read the weights in {file}",
            expected="whole tensors and nothing else (a pickle may not hold code)",
            got=told(error),
            remedy="save the model again as safetensors, or copy it again if the copy broke off",
        ) from error
    return [LoadedTensor.of(name, value, file) for name, value in loaded.items()]


def told(error: Exception) -> str:
    """An error's kind and first line; of a refused pickle what it held, without torch's advice to run it anyway."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, UnpicklingError):
        found = [line for line in lines if "nsupported" in line] or lines
        lines = [line.partition(". ")[0] for line in found]
    return f"{type(error).__name__}: {lines[0][:200] if lines else ''}"


def _is_dense(name: object, value: object) -> bool:
    """Whether a pickled item is a named dense tensor."""
    return isinstance(name, str) and isinstance(value, torch.Tensor) and value.layout == torch.strided


def _named(tensors: Iterable[StoredTensor]) -> dict[str, StoredTensor]:
    """Tensors by name."""
    return {tensor.name: tensor for tensor in tensors}


def _indexed(folder: Path, index: str) -> dict[str, StoredTensor]:
    """The tensors of all shards that an index names."""
    places = _weight_map(folder / index)
    files = sorted(set(places.values()))
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        raise _disagree(folder / index, f"no file {listed(missing)}", "download or copy the missing shards")
    read = read_header if index == SAFE_INDEX else read_pickle
    shards = {file: read(folder / file) for file in files}
    held = [(tensor.name, file) for file, tensors in shards.items() for tensor in tensors]
    differing = {f"{name} in {file}" for name, file in {*held} ^ {*places.items()}}
    if differing:
        got = f"in the index or in a shard only: {listed(differing)}"
        raise _disagree(folder / index, got, "take index and shards of one checkpoint")
    return {tensor.name: tensor for file in files for tensor in shards[file]}


def _weight_map(file: Path) -> Mapping[str, str]:
    """The index's names and files; every file lies in the folder itself."""
    try:
        places = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=_unique)["weight_map"]
        if not isinstance(places, dict) or not places or not all(isinstance(one, str) for one in places.values()):
            raise TypeError('"weight_map" is not an object of file names')
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise _disagree(file, f"{type(error).__name__}: {str(error)[:200]}", "save the model again") from error
    outside = {one for one in places.values() if Path(one).name != one or "\\" in one or one in ("", ".", "..")}
    if outside:
        raise _disagree(file, f"paths that leave the folder: {listed(map(repr, outside))}", "do not trust this model")
    return places


def _disagree(index: Path, got: str, remedy: str) -> AdapterError:
    """The error for an index that does not describe the files beside it."""
    return AdapterError(
        f"cannot read the shards of {index}",
        expected='a "weight_map" that names every tensor once, in a file of the same folder',
        got=got,
        remedy=remedy,
    )
