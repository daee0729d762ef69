"""Adapter folders on disk: written beside their place and moved there whole."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from modeconn.adapters.reading import CONFIG_FILE, INITIAL_FILE, PICKLE_FILE, PROVENANCE_FILE, WEIGHTS_FILE
from modeconn.adapters.tokenizers import TOKENIZER_FILES, copy_files
from modeconn.atomic import replacing
from modeconn.errors import AdapterError

# What an adapter folder may hold to be replaced: a training folder with checkpoints in it is not one.
_OWN_FILES = frozenset({CONFIG_FILE, WEIGHTS_FILE, PICKLE_FILE, PROVENANCE_FILE, INITIAL_FILE, "README.md"})


def write_adapter(
    folder: Path,
    tensors: Mapping[str, torch.Tensor],
    config: Mapping[str, Any],
    provenance: Mapping[str, Any],
    *,
    initial: Mapping[str, torch.Tensor] | None = None,
    tokenizer: Path | None = None,
) -> Path:
    """Write an adapter folder; it appears by rename, so that nothing half-written stays.

    Args:
        folder: Where; it may not exist, or be empty, or hold an adapter and nothing else, which is replaced.
        tensors: PEFT's names -> tensors.
        config: The content of adapter_config.json.
        provenance: What modeconn notes beside it; nothing is written if empty.
        initial: The factors before training, where they were taken out of the base (see `initial_factors`).
        tokenizer: A folder whose tokenizer is copied.

    Raises:
        AdapterError: If the folder holds something else, or cannot be written.
    """
    if folder.exists() and not _is_replaceable(folder):
        raise AdapterError(
            f"cannot save an adapter to {folder}",
            expected="a new or empty folder, or one that holds an adapter and nothing else",
            got="a file" if folder.is_file() else "a folder with other files",
            remedy="give another folder",
        )
    try:
        with replacing(folder, scratch=folder.parent) as new:
            new.mkdir()
            _write_tensors(new / WEIGHTS_FILE, tensors)
            if initial:
                _write_tensors(new / INITIAL_FILE, initial)
            _write_json(new / CONFIG_FILE, config)
            if provenance:
                _write_json(new / PROVENANCE_FILE, provenance)
            if tokenizer is not None:
                copy_files(tokenizer, new)
    except (OSError, SafetensorError) as error:
        raise AdapterError(
            f"cannot save an adapter to {folder}",
            expected="a folder that can be written",
            got=f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}",
            remedy="give a folder on a disk with space and write permission",
        ) from error
    return folder


def _is_replaceable(folder: Path) -> bool:
    """Whether a folder is empty or an adapter's and nothing else's."""
    return folder.is_dir() and all(
        path.name in _OWN_FILES or any(path.match(pattern) for pattern in TOKENIZER_FILES) for path in folder.iterdir()
    )


def _write_tensors(file: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """A safetensors file as PEFT writes them."""
    save_file({name: value.contiguous().clone() for name, value in tensors.items()}, file, metadata={"format": "pt"})


def _write_json(file: Path, value: Mapping[str, Any]) -> None:
    """A JSON file with sorted keys; sets become lists."""
    text = json.dumps(dict(value), indent=2, sort_keys=True, default=sorted)
    file.write_text(text + "\n", encoding="utf-8")
