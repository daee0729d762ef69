"""The command finds its verb, and each way to end has its exit code and its words."""

import signal
import subprocess
import sys

import pytest

from modeconn import __version__
from modeconn.cli.main import COMMANDS, Command, main

WORK = '''
"""Works.

    modeconn work --end well
"""
import sys
import time
from dataclasses import dataclass

from modeconn.errors import RunError


@dataclass(frozen=True)
class Settings:
    end: str = "well"

    def __post_init__(self):
        if self.end == "invalid":
            raise RunError("cannot set up", expected="a", got="b", remedy="c")


def run(settings):
    if settings.end == "error":
        raise RunError("cannot work", expected="a", got="b", remedy="c")
    if settings.end == "defect":
        return [][0]
    if settings.end == "wait":
        print("ready", flush=True)
        time.sleep(60)
    if settings.end == "talk":
        for _ in range(100_000):
            print("line")
    if settings.end == "pipe":
        raise BrokenPipeError("not stdout")
    if settings.end == "three":
        return 3
    print("done")
'''
SCRIPT = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
from modeconn.cli.main import Command, main
sys.exit(main(commands={"work": Command("work_command", "works")}))
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Runs `modeconn work --end END` in this process, on a command module made for it."""
    (tmp_path / "work_command.py").write_text(WORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    commands = {"work": Command("work_command", "works"), "watch": Command("no_such_module", "watches")}
    yield lambda *arguments: main(arguments, commands=commands)
    sys.modules.pop("work_command", None)


@pytest.fixture
def started(tmp_path):
    """Starts the same in a process of its own."""
    (tmp_path / "work_command.py").write_text(WORK)

    def start(end):
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT, "work", "--end", end],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return start


def test_a_command_that_ends_well_gives_0(work, capsys):
    assert work("work") == 0
    assert capsys.readouterr() == ("done\n", "")


def test_a_command_may_give_its_own_code(work):
    assert work("work", "--end", "three") == 3


@pytest.mark.parametrize(("end", "what"), [("error", "cannot work"), ("invalid", "cannot set up")])
def test_an_error_gives_1_and_its_message_only(work, capsys, end, what):
    assert work("work", "--end", end) == 1
    assert capsys.readouterr() == ("", f"error: {what}\n  expected: a\n  got: b\n  remedy: c\n")


def test_debug_adds_the_traceback(work, capsys):
    assert work("work", "--end", "error", "--debug") == 1
    told = capsys.readouterr().err
    assert told.startswith("Traceback (most recent call last):")
    assert told.endswith("error: cannot work\n  expected: a\n  got: b\n  remedy: c\n")


def test_a_defect_shows_its_traceback_and_asks_for_a_report(work, capsys):
    assert work("work", "--end", "defect") == 1
    told = capsys.readouterr().err
    assert "IndexError: list index out of range\nThis is a defect of modeconn: please report it" in told


def test_wrong_usage_of_a_command_gives_2(work, capsys):
    assert work("work", "--edn", "well") == 2
    assert "modeconn work: error: unknown argument --edn; did you mean --end?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "modeconn: error: no command\n"),
        (("wrok",), "modeconn: error: unknown command wrok; did you mean work?\n"),
        (("--debug", "work"), "modeconn: error: --debug before the command; flags come after it\n"),
    ],
)
def test_a_line_without_a_command_gives_2_and_the_commands(work, capsys, arguments, told):
    assert work(*arguments) == 2
    assert capsys.readouterr() == ("", f"{told}  commands: work, watch\n  help: modeconn --help\n")


def test_help_of_a_command_is_its_docstring(work, capsys):
    assert work("work", "--help") == 0
    assert "\nWorks.\n\n    modeconn work --end well\n" in capsys.readouterr().out


def test_help_lists_the_commands(capsys):
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    for verb, command in COMMANDS.items():
        assert f"  {verb}" in told
        assert command.summary in told


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"modeconn {__version__}\n"


def test_an_interrupt_gives_130_and_no_traceback(started):
    with started("wait") as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
    assert process.returncode == 130
    assert told == b"interrupted: finished parts are kept; the same command goes on from there\n"


@pytest.mark.parametrize("buffering", ["", "1"])
def test_a_reader_that_leaves_is_no_error(started, monkeypatch, buffering):
    monkeypatch.setenv("PYTHONUNBUFFERED", buffering)
    with started("talk") as process:
        assert process.stdout.readline() == b"line\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_pipe_that_breaks_elsewhere_is_a_defect(started):
    with started("pipe") as process:
        _, told = process.communicate()
    assert process.returncode == 1
    assert b"BrokenPipeError: not stdout\nThis is a defect" in told
