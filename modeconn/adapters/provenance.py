"""What modeconn's trainer notes beside a checkpoint, checked: anybody may have edited the file since."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from modeconn.errors import AdapterError, listed


def _is_fingerprint(value: object) -> bool:
    """Whether a value can be the fingerprint of a base."""
    return isinstance(value, str) and value != ""


def _is_labels(value: object) -> bool:
    """Whether a value is a list of names of classes, or none."""
    return value is None or (isinstance(value, list) and all(isinstance(one, str) for one in value))


_FITS: Mapping[str, Callable[[object], bool]] = MappingProxyType(
    {"base_fingerprint": _is_fingerprint, "labels": _is_labels}
)


def check_provenance(notes: Mapping[str, Any], file: Path) -> None:
    """Raise unless the notes that are read are of the sort that modeconn writes.

    Args:
        notes: The content of the file; keys that are not known are let be.
        file: Where it was read, for messages.

    Raises:
        AdapterError: If a value is of another sort.
    """
    odd = [f"{key}={notes[key]!r}" for key, fits in _FITS.items() if key in notes and not fits(notes[key])]
    if odd:
        raise AdapterError(
            f"cannot read {file}",
            expected='"base_fingerprint": a text, and "labels": a list of names',
            got=listed(odd),
            remedy="correct the values, or remove the file",
        )
