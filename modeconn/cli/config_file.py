"""The `--config` file: found on the command line, read as YAML, its keys checked."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from modeconn.cli.usage import unknown
from modeconn.errors import listed


def config_path(arguments: Sequence[str]) -> Path | None:
    """The file given by `--config FILE` or `--config=FILE`, the last one if there are several."""
    found = None
    for index, argument in enumerate(arguments):
        if argument == "--config" and index + 1 < len(arguments):
            found = Path(arguments[index + 1])
        elif argument.startswith("--config="):
            found = Path(argument.removeprefix("--config="))
    return found


def read_config(path: Path, known: Collection[str]) -> dict[str, Any]:
    """Reads settings from a YAML file.

    Args:
        path: The file.
        known: Names of the settings, those of nested settings dotted.

    Returns:
        Values by name, nested ones under dotted names.

    Raises:
        ValueError: The file cannot be read, is no mapping, or has keys that are no settings; the message
            says which.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"no YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"expected settings by name, got a {type(content).__name__}")
    flat = _flat(content, known, "")
    strange = sorted(flat.keys() - set(known))
    if strange:
        told = "; ".join(unknown("setting", name, known) for name in strange)
        raise ValueError(f"{told}\n  known: {listed(known, limit=100)}")
    return flat


def _flat(content: Mapping[Any, Any], known: Collection[str], prefix: str) -> dict[str, Any]:
    """Values under dotted names, down to the settings that are known."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and name not in known:
            flat |= _flat(value, known, f"{name}.") or {name: value}
        else:
            flat[name] = value
    return flat
