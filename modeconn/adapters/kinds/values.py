"""What values of settings can be read."""

import math
import re
from collections.abc import Callable, Iterator
from re import _parser  # type: ignore[attr-defined]  # the only place where Python shows how a pattern is built
from typing import Any

_MOST_REPEATS = 4  # in one pattern: the time to fail grows with the length of a name to their number


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
        return isinstance(value, dict) and all(is_regex(key) and fits(one) for key, one in value.items())
    except (re.error, RecursionError, OverflowError):
        return False


def is_regex(pattern: str) -> bool:
    """Whether a regular expression is one that ends: some need longer than a life to say that a name does not match.

    Those have a repeat or a choice within a repeat, as `(a+)+b`, or many repeats in a row.

    Raises:
        re.error: If it is none.
    """
    re.compile(pattern)
    depths = list(_repeats(_parser.parse(pattern), 0))
    return max(depths, default=0) <= 1 and len(depths) <= _MOST_REPEATS


def _repeats(node: Any, depth: int) -> Iterator[int]:  # noqa: ANN401  (trees of Python's own)
    """How deep each repeat of a pattern lies in others, itself included; what can match in two ways counts, too."""
    for operation, value in node:
        name = str(operation)
        inner = depth
        if name.endswith("_REPEAT"):
            inner = depth + (value[1] > 1)
            if inner > depth or depth:
                yield max(inner, depth + 1)
        elif name == "BRANCH" and depth:
            yield depth + 1
        for part in _patterns_in(value):
            yield from _repeats(part, inner)


def _patterns_in(value: Any) -> Iterator[Any]:  # noqa: ANN401
    """The patterns that a step of a pattern consists of."""
    if isinstance(value, _parser.SubPattern):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _patterns_in(one)


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
