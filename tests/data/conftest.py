import importlib
import json
import sys
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "data"


@pytest.fixture(scope="session")
def data_folder():
    return DATA


@pytest.fixture(scope="session")
def splits():
    """Every committed split: (task, split) -> records."""
    return {
        (path.parent.name, path.stem): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((DATA / "tasks").glob("*/*.json"))
        if path.stem != "task"
    }


@pytest.fixture(scope="session")
def cards():
    return {
        path.parent.name: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((DATA / "tasks").glob("*/task.json"))
    }


@pytest.fixture(scope="session")
def kinds():
    """The package of the generators, which lies beside the scripts and is not installed."""
    sys.path.insert(0, str(DATA))
    try:
        yield importlib.import_module("kinds")
    finally:
        sys.path.remove(str(DATA))
