"""Progress goes to stderr on a terminal, and nowhere else."""

import io
import sys

from modeconn.cli.progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def work(**options):
    with progress(**options) as report:
        for done in range(1, 4):
            report(done, 3, "points of the line")
        report(1, 2, "tasks")


def test_a_terminal_sees_every_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    work()
    text = terminal.getvalue()
    assert "points of the line" in text
    assert "3/3" in text
    assert "tasks" in text
    assert "1/2" in text


def test_a_quiet_terminal_sees_nothing(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    work(quiet=True)
    assert terminal.getvalue() == ""


def test_a_pipe_sees_nothing(capsys):
    work()
    assert capsys.readouterr() == ("", "")


def test_steps_made_of_tokens_show_tokens_a_second(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with progress() as report:
        report.tokens("points", 1000)
        for done in range(3):
            report(done, 2, "points")
        report(1, 2, "tasks")
    lines = terminal.getvalue().splitlines()
    assert "tokens/s" in [line for line in lines if "points" in line][-1]
    assert "tokens/s" not in [line for line in lines if "tasks" in line][-1]
