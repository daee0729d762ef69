"""What values of settings can be read."""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from re import _parser  # type: ignore[attr-defined]  # the only place where Python shows how a pattern is built
from typing import Any

_MOST_REPEATS = 4  # on one way through a pattern: the time to fail grows with the length of a name to their number
_DIGITS = ((48, 57), "CATEGORY_DIGIT")  # as Python holds [0-9] and \d


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
    return isinstance(value, dict) and _is_safe(value) and all(fits(one) for one in value.values())


def is_regex(pattern: str) -> bool:
    """Whether a regular expression is one that ends: some need longer than a life to say that a name does not match.

    Those have a repeat or a choice within a repeat, as `(a+)+b`, or many repeats in a row; of digits any number may be
    repeated, as the numbers of layers are short.

    Raises:
        re.error: If it is none.
    """
    re.compile(pattern)
    tree = _parser.parse(pattern)
    return max(_repeats(tree, 0), default=0) <= 1 and _in_a_row(tree) <= _MOST_REPEATS


def is_names_or_pattern(value: object) -> bool:
    """Whether a value is a list of names, a regular expression that ends, or none."""
    return _is_safe([value]) if isinstance(value, str) else is_names(value)


def is_patterns(value: object) -> bool:
    """Whether a value is a list of regular expressions that end, or none."""
    return is_names(value) and _is_safe(value or ())  # type: ignore[arg-type]  # a list of strings


def _is_safe(patterns: Iterable[str]) -> bool:
    """Whether all of some strings are regular expressions that end."""
    try:
        return all(is_regex(pattern) for pattern in patterns)
    except (re.error, RecursionError, OverflowError):
        return False


def _in_a_row(node: Any) -> int:  # noqa: ANN401
    """The most repeats that follow one another on a way through a pattern, those of digits left out."""
    total = 0
    for operation, value in node:
        name = str(operation)
        inner = [_in_a_row(part) for part in _patterns_in(value)]
        total += max(inner, default=0) if name == "BRANCH" else sum(inner)
        total += name.endswith("_REPEAT") and value[1] > 1 and not _is_digit(value[2])
    return total


def _is_digit(body: Any) -> bool:  # noqa: ANN401
    """Whether what is repeated is one digit."""
    if len(body) != 1 or str(body[0][0]) != "IN":
        return False
    return all(one == _DIGITS[0] or str(one) == _DIGITS[1] for _, one in body[0][1])


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


def is_layers(value: object) -> bool:
    """Whether a value is the number of a layer, a list of numbers, or none."""
    numbers = value if isinstance(value, list | tuple) else [] if value is None else [value]
    return all(isinstance(one, int) and not isinstance(one, bool) for one in numbers)


def is_text(value: object) -> bool:
    """Whether a value is a string, or none."""
    return value is None or isinstance(value, str)


def is_tokens(value: object) -> bool:
    """Whether a value is a list of tokens, or none."""
    return value is None or (
        isinstance(value, list)
        and all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in value)
    )
