"""Tables on stdout: complete and plain in a pipe, ruled on a terminal."""

import io

import pandas as pd
import pytest

from modeconn.cli.tables import print_table


class Terminal(io.StringIO):
    def isatty(self):
        return True


def printed(capsys, frame, **options):
    print_table(frame, **options)
    return capsys.readouterr().out


def test_a_piped_table_is_aligned(capsys):
    frame = pd.DataFrame({"task": ["stance", "a"], "t": [0.0, 0.5], "loss": [2.34567, 10.0], "num": [3, 12]})
    assert printed(capsys, frame, title="losses") == (
        "losses\ntask      t     loss  num\nstance  0.0   2.3457    3\na       0.5  10.0000   12\n"
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 1.0], ["0", "1"]),
        ([0.25, 0.5], ["0.25", "0.50"]),
        ([100.0, 20.0], ["100", "20"]),
        ([0.5, None], ["0.5", ""]),
        ([1e-7, 1.0], ["1.0e-07", "1"]),
        ([2e12, 1.5], ["2.0e+12", "1.5"]),
        ([-0.00004, 0.1], ["-4.0e-05", "0.1"]),
        ([float("inf"), 1.0], ["inf", "1"]),
    ],
)
def test_floats_have_sensible_digits(capsys, values, expected):
    lines = printed(capsys, pd.DataFrame({"value": values})).splitlines()
    assert [line.strip() for line in lines[1:]] == expected


def test_missing_words_and_line_breaks_keep_the_rows(capsys):
    frame = pd.DataFrame({"a": ["x", None, "two\nlines"], "b": [True, False, True]})
    assert printed(capsys, frame) == "a          b\nx          True\n           False\ntwo lines  True\n"


def test_numbers_among_words_have_sensible_digits(capsys):
    frame = pd.DataFrame({"what": ["dtype", "share", "points"], "how much": ["float32", 1 / 3, 21]})
    assert [line.split()[-1] for line in printed(capsys, frame).splitlines()[1:]] == ["float32", "0.3333", "21"]


def test_nothing_is_cut_off_in_a_pipe(capsys):
    frame = pd.DataFrame({f"column_{index}": ["x" * 50] * 100 for index in range(20)})
    lines = printed(capsys, frame).splitlines()
    assert len(lines) == 101
    assert lines[-1].count("x" * 50) == 20


def test_an_empty_table_shows_its_columns(capsys):
    assert printed(capsys, pd.DataFrame({"task": [], "loss": []})) == "task  loss\n"


def test_a_terminal_gets_rules(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    print_table(pd.DataFrame({"task": ["[bold]"], "loss": [0.5]}))
    text = terminal.getvalue()
    assert "──" in text
    assert "[bold]" in text
