"""The gallery's scripts draw from the committed tables, and from tables that they are given."""

import runpy
import sys
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.axes import Axes

from modeconn.plotting import COLUMN_WIDTH, PAGE_WIDTH, save_figure

FIGURES = Path(__file__).parents[2] / "figures"
SCRIPTS = sorted(FIGURES.glob("*.py"))


@pytest.fixture
def load(monkeypatch):
    """A function from a script's name to its names."""
    monkeypatch.syspath_prepend(FIGURES)  # as the interpreter does for a script

    def names(script):
        return runpy.run_path(str(FIGURES / script))

    return names


@pytest.fixture
def called(monkeypatch):
    """A function that runs a script on a command line; returns its exit code."""
    monkeypatch.syspath_prepend(FIGURES)

    def run(script, *arguments):
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(FIGURES / script), run_name="__main__")
        return ended.value.code

    return run


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_committed_table_gives_a_figure_for_print(script, load, clashes, tmp_path):
    names = load(script.name)
    frames = [pd.read_csv(FIGURES / "tables" / table) for table in names["TABLES"]]
    drawn = names["draw"](*frames)
    figure = drawn.figure if isinstance(drawn, Axes) else drawn
    assert clashes(figure) == []
    assert figure.get_figwidth() in (COLUMN_WIDTH, PAGE_WIDTH)
    image, _ = save_figure(drawn, tmp_path / "a", table=frames[0], formats=["pdf"])
    content = image.read_bytes()
    assert b"/FontFile2" in content
    assert b"/Type3" not in content


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_gallery_holds_the_figure_and_the_table_that_was_drawn(script, load):
    (table, *_) = load(script.name)["TABLES"]
    found = {path.suffix for path in (FIGURES / "gallery").glob(f"{script.stem}.*")}
    assert found == {".csv", ".pdf", ".png", ".svg"}
    drawn = pd.read_csv(FIGURES / "gallery" / f"{script.stem}.csv")
    pd.testing.assert_frame_equal(drawn, pd.read_csv(FIGURES / "tables" / table))
    assert f"gallery/{script.stem}.svg" in (FIGURES / "README.md").read_text(encoding="utf-8")


def test_tables_name_no_folder_of_a_machine():
    found = [path.name for path in FIGURES.glob("*/*.csv") if "/tmp/" in (text := path.read_text()) or ",/" in text]
    assert found == []


def test_a_script_draws_the_table_that_it_is_given(called, profile_table, tmp_path):
    profile_table.to_csv(tmp_path / "profile.csv", index=False)
    assert called("profile.py", tmp_path / "profile.csv", "--output-dir", tmp_path / "new") == 0
    assert sorted(path.suffix for path in (tmp_path / "new").iterdir()) == [".csv", ".pdf", ".png", ".svg"]


def test_a_bad_table_is_told_without_a_traceback(called, profile_table, tmp_path, capsys):
    profile_table.drop(columns="space").to_csv(tmp_path / "profile.csv", index=False)
    assert called("profile.py", tmp_path / "profile.csv", "--output-dir", tmp_path) == 1
    assert "no space" in capsys.readouterr().err


def test_a_missing_table_is_wrong_usage(called, tmp_path, capsys):
    assert called("profile.py", tmp_path / "none.csv") == 2
    assert "no table at" in capsys.readouterr().err


def test_one_table_of_two_is_wrong_usage(called, capsys):
    assert called("plane.py", FIGURES / "tables" / "plane.csv") == 2
    assert "1 tables given: pass 2, like plane.csv, plane_points.csv" in capsys.readouterr().err


def test_the_mean_of_a_path_is_over_its_old_and_its_new_task(load, profile_table):
    table = pd.concat([profile_table, profile_table.assign(task="later")])
    found = load("profile.py")["old_and_new"](table)
    assert found == {"one -> two": ["old", "new"], "two -> three": ["new", "later"]}


def test_the_chosen_position_has_the_best_mean_score(load, one_path):
    assert load("trade_off.py")["best_positions"](one_path) == {"one -> two": 1.0}
    equal = one_path.assign(score=[0.1, 0.5, 0.5, 0.1, 0.5, 0.5])
    assert load("trade_off.py")["best_positions"](equal) == {"one -> two": 0.5}
