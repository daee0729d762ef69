"""Adapter folders and hub ids as raw settings and tensors; nothing in a file is trusted or skipped."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from modeconn.adapters.full import CONFIG_FILE as MODEL_CONFIG_FILE
from modeconn.adapters.full import FullModel
from modeconn.adapters.kinds.full import full_config
from modeconn.adapters.kinds.miss import from_bone
from modeconn.adapters.kinds.table import KINDS
from modeconn.adapters.provenance import check_provenance
from modeconn.adapters.shards import MODEL_FILES, OLD_MODEL_FILES, has_full_model, told
from modeconn.adapters.stored import StoredTensors
from modeconn.errors import AdapterError, listed

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
PICKLE_FILE = "adapter_model.bin"
PROVENANCE_FILE = "modeconn.json"
INITIAL_FILE = "modeconn_initial.safetensors"
_ADAPTER_FILES = (CONFIG_FILE, WEIGHTS_FILE, PICKLE_FILE, PROVENANCE_FILE, INITIAL_FILE)
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt")
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")  # not ../name, which is a path


@dataclass(frozen=True)
class AdapterFiles:
    """An adapter folder as it was read.

    Attributes:
        folder: Where it lies: a folder, or a weights file.
        config: The parsed adapter_config.json.
        tensors: Every tensor of the weights file, in float32 on the CPU.
        provenance: What modeconn's trainer noted beside the adapter; empty for adapters from elsewhere.
    """

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]
    provenance: Mapping[str, Any]


def read_adapter_files(source: str | Path, *, revision: str | None = None) -> AdapterFiles:
    """Read an adapter or a full fine-tune from a local folder, else from the hub.

    Args:
        source: A folder; a weights file beside its adapter_config.json, as continual trainers leave one for each task
            (`lora_<task>.pt`); or a hub id "owner/name" where no such folder exists.
        revision: Branch, tag or commit on the hub.

    Raises:
        AdapterError: If a file is missing or unreadable, or a tensor is empty, not finite or not floating point.
    """
    place = locate(source, revision=revision)
    folder = place.parent if place.is_file() else place
    if not (folder / CONFIG_FILE).exists() and _is_checkpoint(folder):
        return _read_full_model(folder)
    config = _read_json(folder / CONFIG_FILE, _config_remedy(folder))
    provenance = _read_provenance(folder)
    raw = _read_file(place) if place.is_file() else _read_tensors(folder)
    kind = KINDS.get(str(config.get("peft_type")).upper())
    constants = kind.constants if kind is not None else ()
    _check_kinds(raw, folder, constants=constants)
    # Copies: the file is mapped, and may change or vanish while the adapter is in use.
    tensors = {name: _copied(value, name.endswith(constants)) for name, value in raw.items()}
    prunes = str(config.get("peft_type")).upper() == "ADALORA" and bool(config.get("rank_pattern"))
    _check_values(tensors, folder, may_be_empty=prunes)
    return AdapterFiles(place, config, tensors, provenance)


def renamed(files: AdapterFiles) -> AdapterFiles:
    """An adapter under the names that present versions of PEFT know; the same object where it has them already."""
    if str(files.config.get("peft_type")).upper() != "BONE":
        return files
    config, tensors = from_bone(files.config, files.tensors)
    return replace(files, config=config, tensors=tensors)


def _copied(value: torch.Tensor, constant: bool) -> torch.Tensor:
    """A tensor in float32; whole numbers as they are, or as int32 where a file holds them as floats."""
    if not constant:
        return value.detach().to(torch.float32, copy=True)
    return value.detach().to(torch.int32 if value.is_floating_point() else value.dtype, copy=True)


def read_initial_factors(folder: Path) -> dict[str, torch.Tensor]:
    """The factors that an adapter began with, where modeconn's trainer left them beside it; none where it did not.

    Raises:
        AdapterError: If the file is broken, or holds anything but finite numbers.
    """
    file = folder / INITIAL_FILE
    if not file.exists():
        return {}
    try:
        raw = load_file(file)
    except (SafetensorError, OSError) as error:
        raise _unreadable(folder, error) from error
    _check_kinds(raw, folder)
    tensors = {name: value.detach().to(torch.float32, copy=True) for name, value in raw.items()}
    _check_values(tensors, folder)
    return tensors


def _read_full_model(folder: Path) -> AdapterFiles:
    """A full fine-tune as transformers saves it; its tensors stay on disk until they are asked for."""
    model = FullModel.open(folder)
    labels = model.labels
    provenance = {**({"labels": list(labels)} if labels else {}), **_read_provenance(folder)}
    return AdapterFiles(folder, full_config(model), StoredTensors(model.stored), provenance)


def _read_provenance(folder: Path) -> dict[str, Any]:
    """What modeconn's trainer noted beside a checkpoint, if it made it."""
    file = folder / PROVENANCE_FILE
    if not file.exists():
        return {}
    notes = _read_json(file, "remove the file")
    check_provenance(notes, file)
    return notes


def locate(source: str | Path, *, revision: str | None = None) -> Path:
    """The local folder or file of an adapter; a hub id is looked up in the local cache first, then fetched."""
    folder = Path(source).expanduser()
    beside_config = folder.suffix in _WEIGHT_SUFFIXES and (folder.parent / CONFIG_FILE).exists()
    if folder.is_dir() or (folder.is_file() and beside_config):
        return folder
    if folder.exists() or not _HUB_ID.fullmatch(str(source)):
        raise AdapterError(
            f"cannot read the adapter {str(source)!r}",
            expected=f"a folder that holds {CONFIG_FILE}, a weights file beside one, or a hub id owner/name",
            got="a file" if folder.exists() else "no such folder",
            remedy="check the path",
        )
    return _fetch(str(source), revision)


def _fetch(hub_id: str, revision: str | None) -> Path:
    """The snapshot folder of a hub id."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    with suppress(LocalEntryNotFoundError, HFValidationError, OSError):
        cached = Path(snapshot_download(hub_id, revision=revision, local_files_only=True))
        if _is_checkpoint(cached):
            return cached
    try:
        for patterns in (_ADAPTER_FILES, MODEL_FILES, OLD_MODEL_FILES):
            folder = Path(snapshot_download(hub_id, revision=revision, allow_patterns=list(patterns)))
            if _is_checkpoint(folder):
                break
        return folder  # type: ignore[possibly-undefined]  # there are patterns
    except Exception as error:  # the hub client raises many kinds; all mean that the adapter is not to be had
        raise AdapterError(
            f"cannot fetch the adapter {hub_id!r}",
            expected="a local folder of that name, a cached copy, or a reachable hub",
            got=f"no such folder, nothing cached, and {type(error).__name__} from the hub",
            remedy="check the name, or download the folder and give its path",
        ) from error


def _is_checkpoint(folder: Path) -> bool:
    """Whether a folder holds an adapter or a full model."""
    return (folder / CONFIG_FILE).exists() or has_full_model(folder)


def _config_remedy(folder: Path) -> str:
    """What to do about an adapter config that cannot be read: adapters with names, and checkpoints, lie one deeper."""
    if not (folder / CONFIG_FILE).exists() and (inner := [one.parent.name for one in folder.glob(f"*/{CONFIG_FILE}")]):
        return f"give the folder of one adapter: in this one are {listed(inner)}"
    if (folder / MODEL_CONFIG_FILE).exists():
        return "this looks like a full model without weights: give the folder that save_pretrained wrote"
    return "give the folder that PEFT's save_pretrained wrote"


def _read_json(file: Path, remedy: str) -> dict[str, Any]:
    """A JSON object from a file."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # not text, not JSON, or nested without end
        got = "no such file" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}"
        raise AdapterError(f"cannot read {file}", expected="a JSON object", got=got, remedy=remedy) from error
    if not isinstance(value, dict):
        raise AdapterError(f"cannot read {file}", expected="a JSON object", got=type(value).__name__, remedy=remedy)
    return value


def _read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of the weights file, safetensors before pickle."""
    for file in (folder / WEIGHTS_FILE, folder / PICKLE_FILE):
        if file.exists():
            return _read_file(file)
    raise AdapterError(
        f"the adapter in {folder} has no weights",
        expected=f"{WEIGHTS_FILE} or {PICKLE_FILE}",
        got=listed(file.name for file in folder.iterdir()),
        remedy="give the folder that PEFT's save_pretrained wrote",
    )


def _read_file(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of one weights file; a pickle may hold nothing else."""
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        loaded = torch.load(file, map_location="cpu", weights_only=True)
        if not isinstance(loaded, dict):
            raise TypeError(f"a {type(loaded).__name__} instead of a dict of tensors")
        return dict(loaded)
    except Exception as error:
        # torch raises pickle.UnpicklingError for anything but plain tensors, and other kinds for broken files.
        raise _unreadable(file.parent, error) from error


def _unreadable(folder: Path, error: Exception) -> AdapterError:
    """The error for a weights file that is broken or holds more than tensors."""
    return AdapterError(
        f"cannot read the weights of the adapter in {folder}",
        expected="whole tensors and nothing else (a pickle may not hold code)",
        got=told(error),
        remedy="save the adapter again as safetensors, or copy it again if the copy broke off",
    )


def _check_kinds(values: Mapping[Any, Any], folder: Path, *, constants: tuple[str, ...] = ()) -> None:
    """Raise unless all are named dense tensors of floating point numbers; a pickle may hold anything else.

    Args:
        values: What was read.
        folder: Where, for messages.
        constants: Endings of the names of tensors that may be whole numbers.
    """
    odd = []
    for name, value in values.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            odd.append(f"{name} ({type(value).__name__})")
        elif value.layout != torch.strided or not (value.is_floating_point() or _is_whole(name, value, constants)):
            odd.append(f"{name} ({value.dtype}, {value.layout})")
    narrow = [f"{n} ({v.dtype})" for n, v in values.items() if isinstance(v, torch.Tensor) and "float8" in str(v.dtype)]
    if narrow:
        raise AdapterError(
            f"the adapter in {folder} holds numbers of a dtype that cannot be read",
            expected="float64, float32, bfloat16 or float16",
            got=f"{listed(narrow)}: float8 needs scales that the file's own code knows",
            remedy="save the adapter again in bfloat16 or float32",
        )
    if odd:
        raise AdapterError(
            f"the adapter in {folder} holds values that are not weights",
            expected="tensors of floating point numbers",
            got=listed(odd),
            remedy="save the adapter again with PEFT's save_pretrained",
        )


def _is_whole(name: str, value: torch.Tensor, constants: tuple[str, ...]) -> bool:
    """Whether a tensor is one of those that may be whole numbers, and is."""
    whole = value.dtype in (torch.uint8, torch.int16, torch.int32, torch.int64)
    return bool(constants) and name.endswith(constants) and whole


def _check_values(tensors: Mapping[str, torch.Tensor], folder: Path, *, may_be_empty: bool = False) -> None:
    """Raise if a tensor is not finite in float32, or is empty where training does not prune whole modules."""
    empty = [name for name, value in tensors.items() if value.numel() == 0 and not may_be_empty]
    if empty:
        raise AdapterError(
            f"the adapter in {folder} holds empty tensors",
            expected="no dimension of size 0",
            got=listed(empty),
            remedy="DeepSpeed ZeRO-3 leaves empty tensors when saved without gathering:"
            " save again with stage3_gather_16bit_weights_on_model_save (huggingface/peft#2892)",
        )
    broken = [name for name, value in tensors.items() if not value.isfinite().all()]
    if broken:
        raise AdapterError(
            f"the adapter in {folder} holds NaN or infinite values",
            expected="finite numbers",
            got=listed(broken),
            remedy="the training diverged: take an earlier checkpoint",
        )
