"""Wrong usage told in one line: what was typed, what is accepted, what comes nearest."""

import argparse
import difflib
import re
from collections.abc import Iterable, Mapping
from typing import NoReturn

from jsonargparse import ArgumentParser


class UsageParser(ArgumentParser):
    """A parser whose errors speak of flags, not of the parser's inner keys, and exit with code 2.

    Args:
        prog: What was typed before the arguments.
        description: What the command does, shown as it stands.
    """

    def __init__(self, *, prog: str, description: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.accepted: dict[str, str] = {}

    def accept(self, name: str, described: str) -> None:
        """Notes what a setting accepts, for messages: `accept("num_points", "INT")`."""
        self.accepted[name] = described

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:  # noqa: ARG002  (the parent's)
        """Prints what is wrong to stderr and exits with code 2."""
        self.exit(2, f"{self.prog}: error: {self._plain(message)}\n  help: {self.prog} --help\n")

    def _plain(self, message: str) -> str:
        """The parser's message in the words of the command line; messages of other forms stay."""
        if found := re.match(r"[Uu]nrecognized arguments: (\S+)", message):
            return unknown("argument", found[1].partition("=")[0], self._option_string_actions)
        if found := re.fullmatch(r"the following arguments are required: (.*)", message):
            return f"missing: {', '.join(as_flag(name) for name in found[1].split(', '))}"
        if found := re.search(r'[Kk]ey "([^"]+)"', message):
            got = re.findall(r"(?:Got|Given) value: (.*)", message)
            if found[1] in self.accepted and got:
                return f"{as_flag(found[1])}: expected {self.accepted[found[1]]}, got {got[-1]}"
        return message


def as_flag(name: str) -> str:
    """The flag of a setting: `--output-dir` of `output_dir`; a positional's name stays."""
    return name if name.isupper() else "--" + name.replace("_", "-")


def unknown(what: str, name: str, known: Iterable[str] | Mapping[str, object]) -> str:
    """The message for an unknown name, with the nearest known one if any is near.

    Example:
        >>> unknown("command", "trian", ["train", "demo"])
        'unknown command trian; did you mean train?'
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"unknown {what} {name}" + (f"; did you mean {near[0]}?" if near else "")
