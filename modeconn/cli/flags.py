"""One dataclass of settings makes a command's flags, its YAML file and its help."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from jsonargparse import ActionYesNo, Namespace

from modeconn.cli.config_file import config_path, read_config
from modeconn.cli.fields import COMMON_HELP, Flag, built, flags_of
from modeconn.cli.usage import UsageParser, as_flag

Settings = TypeVar("Settings")
_NOT_FINITE = {"nan": ".nan", "inf": ".inf", "infinity": ".inf"}


def parse_settings(settings: type[Settings], arguments: Sequence[str], *, prog: str, description: str) -> Settings:
    """Parses a command's arguments into its settings.

    Every field of the dataclass is a flag: `output_dir` is `--output-dir`, a list or tuple takes several
    values, a bool is `--flag` and `--no-flag`, a `Literal` is a choice, and the field `decay` of a nested
    dataclass `method` is `--method.decay`. `--config FILE` gives values by field name in YAML; flags win. A bare
    number there is a list of one where many are taken.
    A field's metadata may hold `help`, `metavar` and `positional=True`. Every command also takes
    `--debug` and `--quiet`; the settings are told of them if they have fields of these names.

    Args:
        settings: The dataclass; what its `__post_init__` raises passes through.
        arguments: The command line after the verb.
        prog: What was typed before them, for messages.
        description: What the command does, shown by `--help`.

    Returns:
        The settings.

    Raises:
        SystemExit: Code 2 for wrong usage, 0 after `--help`.
    """
    flags = tuple(flags_of(settings))
    parser = _parser(flags, prog=prog, description=description)
    path = config_path(arguments)
    try:
        config = _listed(flags, read_config(path, [flag.name for flag in flags]) if path else {})
        _check_kinds(flags, config)
    except ValueError as error:
        parser.error(f"--config {path}: {error}")
    namespace = parser.parse_args(_respelled(flags, arguments), namespace=_namespace(config))
    values = {flag.name: namespace[flag.name] for flag in flags}
    for flag in flags:
        if flag.positional and values[flag.name] in (None, []):
            values[flag.name] = _positional(parser, flag, config)
    return built(settings, values)


def _parser(flags: Sequence[Flag], *, prog: str, description: str) -> UsageParser:
    """The parser of a command."""
    parser = UsageParser(prog=prog, description=description)
    parser.add_argument("--config", type=str, metavar="FILE", help="YAML file of settings; flags win")
    for flag in flags:
        _add(parser, flag)
    for name in ("quiet", "debug"):
        if all(flag.name != name for flag in flags):
            parser.add_argument(f"--{name}", action="store_true", help=COMMON_HELP[name])
    return parser


def _namespace(config: Mapping[str, Any]) -> Namespace:
    """The file's values as the parser takes them; it checks their types, and flags replace them."""
    namespace = Namespace()
    for name, value in config.items():
        namespace[name] = value
    return namespace


def _add(parser: UsageParser, flag: Flag) -> None:
    """Adds one flag to the parser, its default in the help."""
    default = None if flag.required else list(flag.default) if flag.sequence and flag.default else flag.default
    told = "required" if flag.required else f"default: {_shown(default)}"
    text = f"{flag.help} ({told})".strip().replace("%", "%%")
    options: dict[str, Any] = {"default": default, "help": text}
    if flag.kind is bool:
        parser.add_argument(as_flag(flag.name), action=ActionYesNo(no_prefix="no-"), **options)
        return
    parser.accept(flag.name, flag.metavar + (" or null" if flag.nullable and not flag.sequence else ""))
    options |= {"type": flag.kind, "metavar": flag.metavar}
    if flag.positional:
        parser.add_argument(flag.name, nargs="*" if flag.sequence else "?", **options)
    elif flag.sequence:
        parser.add_argument(as_flag(flag.name), nargs="+", required=flag.required, **options)
    else:
        parser.add_argument(as_flag(flag.name), required=flag.required, **options)


def _shown(default: object) -> str:
    """A default in the help, as it would be typed."""
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, (list, tuple)):
        return " ".join(str(item) for item in default) or "none"
    return "null" if default is None else str(default)


def _respelled(flags: Sequence[Flag], arguments: Sequence[str]) -> list[str]:
    """The arguments with nan and inf as YAML spells them: they are numbers, and the settings say why they do not do."""
    takes_floats = {as_flag(flag.name): float in (flag.kind, *get_args(flag.kind)) for flag in flags}
    spelled, now = [], False
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name.startswith("--"):
            now = takes_floats.get(name, False)
            spelled.append(f"{name}={_NOT_FINITE.get(value.lower(), value)}" if now and equals else argument)
        else:
            spelled.append(_NOT_FINITE.get(argument.lower(), argument) if now else argument)
    return spelled


def _listed(flags: Sequence[Flag], config: Mapping[str, Any]) -> dict[str, Any]:
    """The file's values; a bare number where many are taken is a list of one, as it is on the command line."""
    listed = dict(config)
    for flag in flags:
        value = config.get(flag.name)
        if flag.sequence and flag.kind in (int, float) and value is not None and not isinstance(value, (bool, dict)):
            items = value if isinstance(value, list) else [value]
            listed[flag.name] = [_as_float(item) if flag.kind is float else item for item in items]
    return listed


def _as_float(item: object) -> object:
    """The number that a text spells, which YAML takes 1e-4 for; anything else as it is, for the parser to refuse."""
    try:
        return float(item) if isinstance(item, str) else item
    except ValueError:
        return item


def _check_kinds(flags: Sequence[Flag], config: Mapping[str, Any]) -> None:
    """Raises ValueError for slips of YAML, which the parser's own words would not explain."""
    for flag in (flag for flag in flags if flag.name in config):
        value = config[flag.name]
        if value is None and flag.nullable:
            continue
        if value is None:
            raise ValueError(f"{flag.name}: expected {flag.metavar}, got null")
        if flag.sequence and not isinstance(value, list):
            raise ValueError(f"{flag.name}: expected a list of {flag.metavar}, got {value!r}")
        if flag.kind is bool and not isinstance(value, bool):
            raise ValueError(f"{flag.name}: expected true or false, got {value!r}")
        for item in value if isinstance(value, list) else [value]:
            if flag.kind in (str, Path) and not isinstance(item, str):
                raise ValueError(f"{flag.name}: expected text, got {item!r}; quote it")


def _positional(parser: UsageParser, flag: Flag, config: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """The value of a positional that was not typed: the file's, else the default, else wrong usage."""
    if flag.name in config:
        given = config[flag.name]
        return [flag.kind(item) for item in given] if flag.sequence else flag.kind(given)
    if flag.required:
        parser.error(f"missing: {flag.metavar} ({flag.help or flag.name})")
    return flag.default
