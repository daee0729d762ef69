"""The gallery's scripts draw from the table that they are given."""

import runpy
import sys
from pathlib import Path

import pandas as pd
import pytest

SCRIPT = Path(__file__).parents[2] / "figures" / "profile.py"


@pytest.fixture
def script():
    return runpy.run_path(str(SCRIPT))


def test_the_profile_is_drawn_from_a_table(script, profile_table, tmp_path, monkeypatch):
    profile_table.to_csv(tmp_path / "profile.csv", index=False)
    monkeypatch.setattr(
        sys, "argv", ["profile.py", str(tmp_path / "profile.csv"), "--output-dir", str(tmp_path / "new")]
    )
    assert script["main"]() == 0
    assert sorted(path.suffix for path in (tmp_path / "new").iterdir()) == [".csv", ".pdf", ".png", ".svg"]


def test_a_bad_table_is_told_without_a_traceback(script, profile_table, tmp_path, monkeypatch, capsys):
    profile_table.drop(columns="space").to_csv(tmp_path / "profile.csv", index=False)
    monkeypatch.setattr(sys, "argv", ["profile.py", str(tmp_path / "profile.csv"), "--output-dir", str(tmp_path)])
    assert script["main"]() == 1
    assert "no space" in capsys.readouterr().err


def test_a_missing_table_is_wrong_usage(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["profile.py", str(tmp_path / "none.csv")])
    with pytest.raises(SystemExit, match="2"):
        script["main"]()
    assert "no table at" in capsys.readouterr().err


def test_the_mean_of_a_path_is_over_its_old_and_its_new_task(script, profile_table):
    table = pd.concat([profile_table, profile_table.assign(task="later")])
    assert script["old_and_new"](table) == {"one -> two": ["old", "new"], "two -> three": ["new", "later"]}
