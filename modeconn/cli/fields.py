"""The fields of a settings dataclass as flags: name, type, default and help of each."""

import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from inspect import get_annotations
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

Hint = Any  # a type annotation

COMMON_HELP = {
    "output_dir": "folder of the run; made if it does not exist",
    "overwrite": "replace what a former run left in the output folder",
    "dry_run": "print what would be done, the memory and the time; do nothing",
    "seed": "seed of everything random",
    "quiet": "no progress on stderr",
    "debug": "show the traceback of an error",
}
METAVARS: dict[Hint, str] = {str: "TEXT", int: "INT", float: "FLOAT", bool: "BOOL", Path: "PATH", dict: "JSON"}


@dataclass(frozen=True)
class Flag:
    """One field of the settings as a flag.

    Attributes:
        name: The field's name, dotted for a field of nested settings.
        kind: The type of a value; of one of the values where there are many.
        sequence: `list` or `tuple` where there are many values, else None.
        nullable: Whether the field may be None.
        default: The default, or MISSING.
        help: What the setting is.
        metavar: What stands for a value in help and messages.
        positional: Whether the value stands alone, without a flag's name.
    """

    name: str
    kind: Hint
    sequence: type | None
    nullable: bool
    default: Any
    help: str
    metavar: str
    positional: bool

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is MISSING


def flags_of(settings: type, prefix: str = "", instance: object = None) -> Iterator[Flag]:
    """The flags of a dataclass, those of nested settings under dotted names.

    Args:
        settings: The dataclass.
        prefix: Put before each name.
        instance: Settings that give the defaults, where an outer dataclass sets them.

    Yields:
        One flag per field, in the order of the fields.
    """
    for field, hint in _settable(settings):
        name = prefix + field.name
        default = _default(field) if instance is None else getattr(instance, field.name)
        if _is_settings(hint):
            yield from flags_of(hint, f"{name}.", None if default is MISSING else default)
            continue
        kind, sequence = _element(hint)
        yield Flag(
            name=name,
            kind=kind,
            sequence=sequence,
            nullable=types.NoneType in _members(hint),
            default=default,
            help=field.metadata.get("help", COMMON_HELP.get(name, "")),
            metavar=field.metadata.get("metavar", _metavar(kind)),
            positional=field.metadata.get("positional", False),
        )


def built(settings: type, values: Mapping[str, Any], prefix: str = "") -> Any:  # noqa: ANN401  (a `settings`)
    """The dataclass, and those nested in it, from values by dotted name."""
    content: dict[str, Any] = {}
    for field, hint in _settable(settings):
        name = prefix + field.name
        if _is_settings(hint):
            content[field.name] = built(hint, values, f"{name}.")
        else:
            value, (_, sequence) = values[name], _element(hint)
            content[field.name] = sequence(value) if sequence and value is not None else value
    return settings(**content)


def _settable(settings: type) -> list[tuple[Field[Any], Hint]]:
    """The fields that a caller gives, with their types; a class's own come before those of its bases."""
    hints = get_type_hints(settings)
    owners = settings.__mro__
    level = {name: owners.index(owner) for owner in reversed(owners) for name in get_annotations(owner)}
    given = [(field, hints[field.name]) for field in fields(settings) if field.init]
    return sorted(given, key=lambda pair: level[pair[0].name])


def _is_settings(hint: Hint) -> bool:
    """Whether a field holds settings of its own."""
    return isinstance(hint, type) and is_dataclass(hint)


def _default(field: Field[Any]) -> Any:  # noqa: ANN401  (any default)
    """The field's default, or MISSING."""
    return field.default if field.default_factory is MISSING else field.default_factory()


def _element(hint: Hint) -> tuple[Hint, type | None]:
    """The type of one value and the sequence of many: `tuple[str, ...] | None` gives `str` and `tuple`."""
    members = [member for member in _members(hint) if member is not types.NoneType]
    sequence = get_origin(members[0]) if len(members) == 1 else None
    return (get_args(members[0])[0], sequence) if sequence in (list, tuple) else (hint, None)


def _members(hint: Hint) -> tuple[Hint, ...]:
    """The types of a union; of any other hint, itself."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _metavar(hint: Hint) -> str:
    """What stands for a value of the type: `INT`, `{weights,factors}`, `FLOAT|{auto}`."""
    if len(_members(hint)) > 1:
        return "|".join(_metavar(member) for member in _members(hint) if member is not types.NoneType)
    if get_origin(hint) is Literal:
        return "{" + ",".join(str(choice) for choice in get_args(hint)) + "}"
    return METAVARS.get(get_origin(hint) or hint, "VALUE")
