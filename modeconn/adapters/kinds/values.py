"""What values of settings can be read."""

import math
import re
from collections.abc import Callable


def is_number(value: object) -> bool:
    """Whether a value is a finite number other than zero."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value != 0


def is_rank(value: object) -> bool:
    """Whether a value is a rank."""
    return isinstance(value, int) and is_number(value) and value > 0


def is_flag(value: object) -> bool:
    """Whether a value is true, false or not given."""
    return value is None or isinstance(value, bool)


def is_pattern(value: object, fits: Callable[[object], bool]) -> bool:
    """Whether a value maps regular expressions to values that fit."""
    if value is None:
        return True
    try:
        return isinstance(value, dict) and all(re.compile(key) and fits(one) for key, one in value.items())
    except re.error:
        return False


def is_names(value: object) -> bool:
    """Whether a value is a list of strings, or none."""
    return value is None or (isinstance(value, list | tuple) and all(isinstance(one, str) for one in value))


def is_bias(value: object) -> bool:
    """Whether a value says which biases of the base were trained."""
    return value in (None, "none", "all") or (isinstance(value, str) and value.endswith("_only"))


def is_text(value: object) -> bool:
    """Whether a value is a string, or none."""
    return value is None or isinstance(value, str)


def is_tokens(value: object) -> bool:
    """Whether a value is a list of tokens, or none."""
    return value is None or (
        isinstance(value, list)
        and all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in value)
    )
