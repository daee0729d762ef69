"""Whether settings given in Python are of their types: the command line checks its own."""

import math
import types
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Literal, Union, get_args, get_origin

Hint = Any  # a type annotation

_ONE = {bool: "true or false", int: "a whole number", float: "a number", str: "text", dict: "settings by name"}
_MANY = {int: "whole numbers", float: "numbers", str: "several texts"}


def fits(value: object, hint: Hint) -> bool:
    """Whether a value is of a type; whole numbers are numbers, infinity is none, lists do where tuples are asked for.

    Example:
        >>> fits(2, float | None), fits([1, 2], tuple[int, ...]), fits("2", int), fits(True, int)
        (True, True, False, False)
    """
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, member) for member in arguments)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin is tuple:
        return isinstance(value, list | tuple) and all(fits(one, arguments[0]) for one in value)
    if origin is dict:
        return isinstance(value, Mapping)
    if origin in (int, float):
        number = isinstance(value, Integral if origin is int else Real) and not isinstance(value, bool)
        return number and math.isfinite(value)  # type: ignore[arg-type]
    return isinstance(value, origin)


def told(hint: Hint) -> str:
    """What a value of a type is, in words.

    Example:
        >>> told(int | None), told(tuple[str, ...]), told(Literal["a", "b"])
        ('a whole number, or none', 'several texts', 'one of a, b')
    """
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, types.UnionType):
        words = [told(member) for member in arguments if member is not types.NoneType]
        return ", or ".join([*words, "none"] if types.NoneType in arguments else words)
    if origin is Literal:
        return f"one of {', '.join(arguments)}"
    return _MANY[arguments[0]] if origin is tuple else _ONE[origin]
