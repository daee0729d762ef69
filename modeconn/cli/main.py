"""The `modeconn` command: finds the verb, runs it, and turns its end into an exit code.

0 done; 1 an error, told on stderr; 2 wrong usage; 130 interrupted; 141 nobody reads the output any more.
"""

import importlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

from modeconn.errors import ModeconnError, RunError
from modeconn.runs.processes import launched

if TYPE_CHECKING:
    from modeconn.runs.processes import Processes


class Command(NamedTuple):
    """A verb: the module with its `Settings` and `run`, imported when it is called, and one line of help.

    One with `shared` work has a `run(settings, processes)`, and can be launched in several processes.
    """

    module: str
    summary: str
    shared: bool = False


COMMANDS: Mapping[str, Command] = {
    "demo": Command("modeconn.cli.demo", "train checkpoints on embedded tasks, join them, draw the barrier"),
    "inspect": Command("modeconn.cli.inspect", "say what an adapter holds"),
    "geometry": Command("modeconn.cli.geometry", "say where updates lie: spectra, subspaces, what they share"),
    "train": Command("modeconn.cli.train", "train checkpoints, one task after the other", shared=True),
    "fit": Command("modeconn.cli.fit", "fit a curve between two checkpoints"),
    "autoneb": Command("modeconn.cli.autoneb", "let a chain between two checkpoints settle on the lowest way"),
    "export": Command("modeconn.cli.export", "write a point of a path as an adapter or a full model"),
    "evaluate": Command("modeconn.cli.evaluate", "measure tasks along a path and its barrier", shared=True),
    "plane": Command(
        "modeconn.cli.plane", "measure tasks on a plane: through checkpoints, a curve, or around one", shared=True
    ),
    "matrix": Command("modeconn.cli.matrix", "measure the barriers between many checkpoints", shared=True),
    "cka": Command("modeconn.cli.cka", "compare representations layer by layer, along a path, after every task"),
}
DONE, FAILED, USAGE, INTERRUPTED, UNREAD = 0, 1, 2, 130, 141


def main(argv: Sequence[str] | None = None, *, commands: Mapping[str, Command] = COMMANDS) -> int:
    """Runs one command line.

    A command is a module whose docstring is its help, with a dataclass `Settings` (see
    `modeconn.cli.flags.parse_settings`) and a function `run(settings) -> int | None` that imports what
    is heavy.

    Args:
        argv: The arguments after `modeconn`; those of the process if None.
        commands: The verbs.

    Returns:
        The exit code: 0 done, 1 an error, 2 wrong usage, 130 interrupted, 141 output no longer read. An
        error that is not a `ModeconnError` is a defect of modeconn: it shows its traceback, code 1.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not launched():
        return _outcome(arguments, commands)
    from modeconn.cli.launch import run_together

    return run_together(lambda processes: _outcome(arguments, commands, processes))


def _outcome(arguments: list[str], commands: Mapping[str, Command], processes: "Processes | None" = None) -> int:
    """Runs one command line, tells its error, and returns its exit code."""
    try:
        with processes or nullcontext():
            code = _dispatch(arguments, commands, processes)
        sys.stdout.flush()  # a reader that has gone is noticed here, not at the interpreter's end
    except SystemExit as leaving:  # the parser's: after --help, or for wrong usage
        return leaving.code if isinstance(leaving.code, int) else DONE
    except ModeconnError as error:
        if "--debug" in arguments:
            _print_traceback()
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted: finished parts are kept; the same command goes on from there", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _stdout_is_unread():
            return UNREAD
        _print_traceback()
        print("This is a defect of modeconn: please report it with the lines above.", file=sys.stderr)
        return FAILED
    return code


def _dispatch(arguments: list[str], commands: Mapping[str, Command], processes: "Processes | None") -> int:
    """Answers what needs no command, or runs one."""
    verb = arguments[0] if arguments else ""
    if verb in ("-h", "--help"):
        print(_help(commands))
        return DONE
    if verb == "--version":
        print(f"modeconn {_version()}")
        return DONE
    if verb not in commands:
        return _refuse(verb, commands)
    return _run(verb, commands[verb], arguments[1:], processes)


def _run(verb: str, command: Command, arguments: list[str], processes: "Processes | None") -> int:
    """Imports a command, parses its settings and runs it."""
    from modeconn.cli.flags import parse_settings

    for name in ("torchao", "bitsandbytes", "torch.utils._pytree"):  # remarks on parts for other devices, if installed
        logging.getLogger(name).setLevel(logging.ERROR)
    module = importlib.import_module(command.module)
    settings = parse_settings(
        module.Settings,
        arguments,
        prog=f"modeconn {verb}",
        description=(module.__doc__ or command.summary).strip(),
    )
    if processes is None:
        return module.run(settings) or DONE
    if not command.shared:
        raise RunError(
            f"modeconn {verb} cannot share its work",
            expected="one process",
            got=f"a launch of {processes.count}",
            remedy=f"start it without torchrun and accelerate launch: modeconn {verb} ...",
        )
    return module.run(settings, processes) or DONE


def _refuse(verb: str, commands: Mapping[str, Command]) -> int:
    """Says what is wrong with a command line that names no command."""
    from modeconn.cli.usage import unknown

    if not verb:
        problem = "no command"
    elif verb.startswith("-"):
        problem = f"{verb} before the command; flags come after it"
    else:
        problem = unknown("command", verb, commands)
    print(f"modeconn: error: {problem}\n  commands: {', '.join(commands)}\n  help: modeconn --help", file=sys.stderr)
    return USAGE


def _help(commands: Mapping[str, Command]) -> str:
    """The text of `modeconn --help`."""
    width = max(len(verb) for verb in commands)
    lines = [f"  {verb:<{width}}  {command.summary}" for verb, command in commands.items()]
    return "\n".join(
        [
            "usage: modeconn COMMAND [flags]",
            "",
            "What lies between two fine-tuned checkpoints of one base model.",
            "",
            "commands:",
            *lines,
            "",
            "modeconn COMMAND --help lists the flags of a command; modeconn --version says which modeconn this is.",
        ]
    )


def _version() -> str:
    """The version of modeconn."""
    from modeconn import __version__

    return __version__


def _print_traceback() -> None:
    """Prints the traceback of the current exception to stderr."""
    import traceback

    traceback.print_exc()


def _stdout_is_unread() -> bool:
    """Whether the reader of stdout has gone; if so, what is left to write goes nowhere, quietly."""
    import select

    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLOUT)
    events = poll.poll(0)
    if not events or not events[0][1] & (select.POLLERR | select.POLLHUP):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


if __name__ == "__main__":
    sys.exit(main())
