"""Adapter folders on disk: written beside their place and moved there whole."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from modeconn.adapters.reading import CONFIG_FILE, PROVENANCE_FILE, WEIGHTS_FILE
from modeconn.errors import AdapterError


def write_adapter(
    folder: Path,
    tensors: Mapping[str, torch.Tensor],
    config: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> Path:
    """Write an adapter folder; it appears by rename, so that nothing half-written stays.

    Args:
        folder: Where; it may not exist, or be empty, or hold an adapter, which is replaced.
        tensors: PEFT's names -> tensors.
        config: The content of adapter_config.json.
        provenance: What modeconn notes beside it; nothing is written if empty.

    Raises:
        AdapterError: If the folder holds something else, or cannot be written.
    """
    if folder.exists() and not _is_replaceable(folder):
        raise AdapterError(
            f"cannot save an adapter to {folder}",
            expected="a new or empty folder, or one that holds an adapter",
            got="a file" if folder.is_file() else "a folder with other files",
            remedy="give another folder",
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
            new = Path(temporary) / "new"
            new.mkdir()
            save_file(
                {name: value.contiguous().clone() for name, value in tensors.items()},
                new / WEIGHTS_FILE,
                metadata={"format": "pt"},
            )
            _write_json(new / CONFIG_FILE, config)
            if provenance:
                _write_json(new / PROVENANCE_FILE, provenance)
            if folder.exists():
                folder.rename(Path(temporary) / "old")
            new.rename(folder)
    except OSError as error:
        raise AdapterError(
            f"cannot save an adapter to {folder}",
            expected="a folder that can be written",
            got=f"{type(error).__name__}: {error.strerror or error}",
            remedy="give a folder on a disk with space and write permission",
        ) from error
    return folder


def _is_replaceable(folder: Path) -> bool:
    """Whether a folder is empty or an adapter's."""
    return folder.is_dir() and (not any(folder.iterdir()) or (folder / CONFIG_FILE).exists())


def _write_json(file: Path, value: Mapping[str, Any]) -> None:
    """A JSON file with sorted keys; sets become lists."""
    text = json.dumps(dict(value), indent=2, sort_keys=True, default=sorted)
    file.write_text(text + "\n", encoding="utf-8")
