"""Plain JSON from settings and results, without NaN and without surprises."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Any

from modeconn.errors import RunError


def plain(value: Any, *, at: str = "value") -> Any:  # noqa: ANN401  (any JSON value comes out)
    """The JSON form of a value: dataclasses and mappings become dicts, tuples become lists.

    Args:
        value: Settings, results, or a part of them; NumPy scalars count as the numbers that they hold.
        at: The value's name in messages, such as `settings.tolerance`.

    Returns:
        Nested dicts, lists, strings, integers, finite floats, booleans and None.

    Raises:
        RunError: A number is NaN or infinite.
        TypeError: A value has no JSON form.

    Example:
        >>> plain({"tasks": ("a", "b"), "rank": 8})
        {'tasks': ['a', 'b'], 'rank': 8}
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return _finite(value, at)
    if isinstance(value, PurePath):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return plain({field.name: getattr(value, field.name) for field in fields(value)}, at=at)
    if isinstance(value, Mapping):
        return {str(key): plain(item, at=f"{at}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, at=f"{at}[{index}]") for index, item in enumerate(value)]
    scalar = getattr(value, "item", None)
    if callable(scalar) and getattr(value, "ndim", None) == 0:
        return plain(scalar(), at=at)
    raise TypeError(f"{at}: a {type(value).__name__} has no JSON form")


def json_text(value: Any, *, at: str = "value") -> str:  # noqa: ANN401  (any JSON value goes in)
    """The value as indented JSON with a newline at its end; raises as `plain` does."""
    return json.dumps(plain(value, at=at), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(number: float, at: str) -> float:
    """The number itself, a plain float; NaN and infinities have no JSON form."""
    if not math.isfinite(number):
        raise RunError(
            f"cannot write {at} as JSON",
            expected="a finite number",
            got=str(number),
            remedy="give None where a number is missing",
        )
    return float(number)
