"""Tokenizers beside checkpoints: where the vocabulary grew in training, points need one that knows the new words."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modeconn.adapters.adapter import Adapter

TOKENIZER_FILES = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model", "chat_template*",
)  # fmt: skip


def sources_of(points: "Iterable[Adapter]") -> tuple[Path, ...]:
    """The folders of the checkpoints that some points were made from, each once, those of the first point first."""
    return tuple(dict.fromkeys(folder for point in points for folder in point.sources))


def tokenizer_folder(folders: Iterable[Path]) -> Path | None:
    """The first of some folders that holds a tokenizer; None where none does.

    Args:
        folders: They need not exist any more.
    """
    return next((folder for folder in folders if (folder / "tokenizer_config.json").is_file()), None)


def copy_files(source: Path, target: Path, patterns: Sequence[str] = TOKENIZER_FILES) -> None:
    """Copy the files of a folder whose names match one of some patterns; by default a tokenizer's.

    Raises:
        OSError: If a file cannot be read or written.
    """
    for file in {file for pattern in patterns for file in source.glob(pattern) if file.is_file()}:
        shutil.copyfile(file, target / file.name)
