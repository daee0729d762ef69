"""Amounts of memory as users give them: for all devices alike, or for each."""

import json
from collections.abc import Mapping
from typing import Any

from modeconn.errors import ModelError, listed
from modeconn.models.sources import told

MemoryLimit = float | str | Mapping[Any, float | str]
_GIB = 2**30
_FREE_SHARE = 0.9  # of the CPU's free memory, where nobody sets a limit for it


def memory_bytes(limit: float | str, *, setting: str = "max_memory (--max-memory)") -> int:
    """An amount of memory in bytes.

    Args:
        limit: GiB, or a number with its unit, as "12GiB" or "500MB".
        setting: What it is, for the message.

    Raises:
        ModelError: If it is no amount, or not above 0.

    Example:
        >>> memory_bytes(2), memory_bytes("500MB")
        (2147483648, 500000000)
    """
    from accelerate.utils import convert_file_size_to_int

    try:
        found = int(float(limit) * _GIB)
    except (ValueError, OverflowError, TypeError):
        try:
            found = convert_file_size_to_int(str(limit).replace(" ", ""))
        except ValueError:
            found = 0
    if found < 1:
        raise ModelError(
            f"{setting} is no amount of memory",
            expected="GiB, or a number with its unit, as 12, 12GiB or 500MB",
            got=repr(limit),
            remedy='give max_memory="12GiB" (--max-memory 12GiB)',
        )
    return found


def device_limits(max_memory: MemoryLimit) -> dict[int | str, int]:
    """Device -> bytes, as accelerate takes it; what is free, where the limit is larger or there is none."""
    from accelerate.utils import get_max_memory

    if isinstance(max_memory, str) and max_memory.lstrip().startswith("{"):
        max_memory = json_object(max_memory, "max_memory (--max-memory)", '{"0": "10GiB", "cpu": "30GiB"}')
    if isinstance(max_memory, Mapping):
        return {_device(key): memory_bytes(value, setting=f"max_memory of {key}") for key, value in max_memory.items()}
    limit, free = memory_bytes(max_memory), {key: int(size) for key, size in get_max_memory().items()}
    accelerators = {key: min(limit, size) for key, size in free.items() if key != "cpu"}
    if not accelerators:
        return {"cpu": min(limit, free["cpu"])}
    return {**accelerators, **({"cpu": int(free["cpu"] * _FREE_SHARE)} if "cpu" in free else {})}


def _device(key: int | str) -> int | str:
    """A device as accelerate names it: its number, or "cpu"."""
    from accelerate.utils import get_max_memory

    found = int(key) if str(key).isdigit() else key
    known = get_max_memory()
    if found not in known:
        raise ModelError(
            f"max_memory (--max-memory) is given for {key!r}, which is no device here",
            expected=listed(map(str, known)),
            got=repr(key),
            remedy="name GPUs by their numbers, and the CPU cpu",
        )
    return found


def json_object(text: str, setting: str, example: str) -> dict[Any, Any]:
    """A JSON object."""
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise ModelError(
            f"{setting} is no JSON object",
            expected=f"an object such as {example}",
            got=f"{text} ({told(error)})",
            remedy="put it in single quotes on the command line",
        ) from error
