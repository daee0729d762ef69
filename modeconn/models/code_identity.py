"""What a function or a module computes, as text that differs where the numbers may."""

import functools
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import CodeType, EllipsisType, FunctionType, MethodType, ModuleType, NoneType
from typing import Any

import numpy as np
import torch
from torch import nn

from modeconn.errors import ModelError

_PLAIN = (NoneType, bool, int, float, complex, str, bytes, EllipsisType, torch.dtype, torch.device)
_NO_SETTINGS = ("training",)  # attributes that are switched while a module is used


def function_identity(function: Callable[..., Any], what: str) -> str:
    """SHA-256 in hex of all that decides what a function gives back.

    A function counts by its module, name, bytecode and constants, by its defaults and what it closes over, and by the
    numbers and functions of its own file that it names; a function of another file counts by its name. Partials,
    methods, torch modules and objects with `__call__` count by what they hold as well.

    Args:
        function: What is called.
        what: What it is called, for messages: "the loss".

    Raises:
        ModelError: If it holds something of which only its owner knows what it does.
    """
    return _hashed(_Teller(what).told(function, what))


def architecture_identity(module: nn.Module, *, without: Callable[[str], bool]) -> str:
    """SHA-256 in hex of what a module is but for the values of its parameters.

    Names and shapes of its parameters, its buffers, the classes of its parts with their code and their plain
    attributes. Attributes of other kinds count by their class.

    Args:
        module: The module.
        without: Says of a buffer's name whether its values do not matter.
    """
    teller = _Teller("the module")
    parameters = [(name, tuple(value.shape)) for name, value in module.named_parameters(remove_duplicate=False)]
    buffers = [(name, "" if without(name) else tensor_identity(value)) for name, value in module.named_buffers()]
    parts = [(name, teller.part(part)) for name, part in module.named_modules()]
    return _hashed((parameters, buffers, parts))


def tensor_identity(tensor: torch.Tensor | np.ndarray) -> str:
    """SHA-256 in hex of dtype, shape and values."""
    values = torch.as_tensor(tensor).detach().cpu().contiguous()
    found = hashlib.sha256(f"{values.dtype} {tuple(values.shape)}".encode())
    found.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _hashed(told: object) -> str:
    """The hash of nested tuples of text."""
    return hashlib.sha256(repr(told).encode()).hexdigest()


@dataclass
class _Teller:
    """Turns values into nested tuples of text.

    Attributes:
        what: What is told, for messages.
        seen: Functions that were met before, by `id`, with their number: functions may call each other.
    """

    what: str
    seen: dict[int, int] = field(default_factory=dict)

    def told(self, value: Any, where: str) -> object:  # noqa: ANN401
        """A value that is known through and through.

        Raises:
            ModelError: If it is not.
        """
        match value:
            case _ if isinstance(value, _PLAIN):
                return repr(value)
            case type() | ModuleType():
                return _name(value)
            case torch.Tensor() | np.ndarray():
                return tensor_identity(value)
            case list() | tuple():
                return type(value).__name__, *(self.told(one, where) for one in value)
            case dict():
                return "dict", *((self.told(key, where), self.told(one, where)) for key, one in value.items())
            case set() | frozenset():
                return "set", *sorted((self.told(one, where) for one in value), key=repr)
            case functools.partial():
                return "partial", *(self.told(one, where) for one in (value.func, value.args, value.keywords))
            case MethodType():
                return "method", self.told(value.__func__, where), self.told(value.__self__, where)
            case FunctionType():
                return self.function(value)
            case nn.Module():
                return self._loss_module(value)
        if callable(value) and hasattr(value, "__qualname__"):  # built in
            return _name(value)
        if callable(value) and hasattr(value, "__dict__"):
            return self.class_of(value), self.told(vars(value), f"the attributes of {type(value).__name__}")
        raise self._untold(value, where)

    def function(self, function: FunctionType) -> object:
        """A function by its code and all that belongs to it."""
        if id(function) in self.seen:
            return "again", self.seen[id(function)]
        self.seen[id(function)] = len(self.seen)
        where = function.__qualname__
        held = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        return (
            _name(function),
            _code(function.__code__),
            self.told((function.__defaults__, function.__kwdefaults__), f"the defaults of {where}"),
            *((name, self._cell(cell, f"{name}, which {where} closes over")) for name, cell in held),
            *((name, self._global(value, function)) for name, value in _globals(function)),
        )

    def part(self, part: nn.Module) -> object:
        """A part of a module without its tensors and children: its class and its plain attributes."""
        settings = [
            (name, repr(value) if _is_plain(value) else _name(type(value)))
            for name, value in sorted(vars(part).items())
            if not name.startswith("_") and name not in _NO_SETTINGS
        ]
        return self.class_of(part), *settings

    def class_of(self, value: object) -> object:
        """A class by the functions that it and its bases define; classes of torch by their names."""
        kinds = [kind for kind in type(value).__mro__ if kind is not object]
        return tuple((_name(kind), *(() if _is_torchs(kind) else self._methods(kind))) for kind in kinds)

    def _methods(self, kind: type) -> Iterator[object]:
        """What a class itself defines; what its functions hold that cannot be told, is its owner's affair."""
        for name, value in sorted(vars(kind).items()):
            function = getattr(value, "__func__", value)
            if isinstance(function, FunctionType):
                yield (
                    name,
                    _code(function.__code__),
                    *((one, self._global(g, function)) for one, g in _globals(function)),
                )

    def _loss_module(self, module: nn.Module) -> object:
        """A module with all its tensors."""
        tensors = [(name, tensor_identity(value)) for name, value in module.state_dict().items()]
        return tuple(tensors), *((name, self.part(part)) for name, part in module.named_modules())

    def _cell(self, cell: Any, where: str) -> object:  # noqa: ANN401
        """What a function closes over."""
        try:
            value = cell.cell_contents
        except ValueError:  # not filled yet
            return "empty"
        return self.told(value, where)

    def _global(self, value: Any, function: FunctionType) -> object:  # noqa: ANN401
        """What a function names of its file: numbers, tensors and functions by what they are, the rest by its name."""
        if isinstance(value, FunctionType):
            return self.function(value) if value.__module__ == function.__module__ else _name(value)
        if isinstance(value, (*_PLAIN, torch.Tensor)):
            return self.told(value, function.__qualname__)
        return _name(value) if isinstance(value, type | ModuleType) else _name(type(value))

    def _untold(self, value: object, where: str) -> ModelError:
        """The error for a value that nobody but its owner knows."""
        return ModelError(
            f"it cannot be told what {self.what} computes, so that its numbers could be stored under a wrong name",
            expected="functions and torch modules that hold numbers, texts, tensors and functions",
            got=f"{_name(type(value))} in {where}",
            remedy='name loss and score yourself: ModuleModel(module, loss, identity="focal, gamma 2")',
        )


def _name(value: Any) -> str:  # noqa: ANN401
    """Module and name."""
    if isinstance(value, ModuleType):
        return value.__name__
    return f"{getattr(value, '__module__', None)}.{value.__qualname__}"


def _is_plain(value: object) -> bool:
    """Whether a value's text says all of it."""
    return all(map(_is_plain, value)) if isinstance(value, tuple | list) else isinstance(value, _PLAIN)


def _is_torchs(kind: type) -> bool:
    """Whether a class comes with torch."""
    return kind.__module__.partition(".")[0] == "torch"


def _code(code: CodeType) -> object:
    """Code without the lines where it stands."""
    constants = tuple(
        _code(one)
        if isinstance(one, CodeType)
        else repr(sorted(one, key=repr))
        if isinstance(one, frozenset)
        else repr(one)
        for one in code.co_consts
    )
    return code.co_code, code.co_names, code.co_varnames, constants


def _globals(function: FunctionType) -> list[tuple[str, Any]]:
    """What a function's code names of its file, in a fixed order."""
    names, codes = set(), [function.__code__]
    while codes:
        code = codes.pop()
        names |= set(code.co_names)
        codes += [one for one in code.co_consts if isinstance(one, CodeType)]
    return [(name, function.__globals__[name]) for name in sorted(names) if name in function.__globals__]
