"""README's claims that a test can check: names that exist, commands that parse, files that are there."""

import re
import textwrap
from pathlib import Path

import pandas as pd

import modeconn as mc
from modeconn.cli.main import COMMANDS
from modeconn.runs import read_csv

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_uses_names_that_exist() -> None:
    examples = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert examples
    for example in examples:
        compile(example, "README.md", "exec")
    names = set(re.findall(r"\bmc\.(\w+)", README))
    assert names >= {"Adapter", "LinearPath", "evaluate_path"}
    assert [name for name in sorted(names) if not hasattr(mc, name)] == []


def test_the_commands_exist() -> None:
    used = set(re.findall(r"^ {4}modeconn (\w+)", README, re.MULTILINE))
    assert used >= {"inspect", "evaluate", "train"}
    assert used <= COMMANDS.keys()


def test_links_and_images_are_there() -> None:
    targets = re.findall(r"\]\(([\w./-]+)\)", README)
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_tree_names_the_folders() -> None:
    folders = {path.parent.name for path in (ROOT / "modeconn").glob("*/__init__.py")}
    tree = README.split("## What is where")[1]
    assert [folder for folder in sorted(folders) if f"{folder}/" not in tree] == []


def test_the_printed_output_is_that_of_the_committed_table() -> None:
    profile = read_csv(ROOT / "figures" / "tables" / "profile.csv")
    own = profile[(profile["path"] == "after-1-stance -> after-2-tone") & profile["task"].isin(["stance", "tone"])]
    rows = []
    for task, along in own.groupby("task", sort=False):
        for baseline in ("chord", "mean"):
            found = mc.barrier(along["t"], along["loss"], baseline=baseline)
            rows.append({"task": task, "baseline": baseline, "barrier": found.height, "t_at_max": found.t})
    shown = own.reset_index(drop=True).query("t in (0, 0.5, 1)")[["task", "t", "loss", "score"]]
    printed = f"{pd.DataFrame(rows)}\n{shown}"
    assert textwrap.indent(printed, "    ") in README
