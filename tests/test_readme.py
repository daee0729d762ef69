"""README's claims that a test can check: names that exist, commands that parse, files that are there."""

import re
from pathlib import Path

import modeconn as mc
from modeconn.cli.main import COMMANDS

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
