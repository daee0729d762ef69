"""What pyproject.toml promises: every package is listed, the embedded data travel along."""

import tomllib
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_package_is_listed() -> None:
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "modeconn").rglob("__init__.py")}
    found = {".".join(folder.parts) for folder in folders} | {"modeconn.embedded"}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found


def test_the_embedded_data_are_found_through_the_package() -> None:
    embedded = Path(str(files("modeconn.embedded")))
    assert (embedded / "base" / "model.safetensors").exists()
    assert (embedded / "tasks" / "stance" / "task.json").exists()


def test_every_dependency_has_a_floor_and_a_tested_pin() -> None:
    pins = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    for requirement in PROJECT["project"]["dependencies"]:
        name, _, floor = requirement.partition(">=")
        assert floor, requirement
        assert name.lower().replace("_", "-") in pins, requirement
