import gc
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # there is a test process for every core


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What collecting makes stays to the end: to look through it for garbage again and again takes minutes."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(7_000, 10, 10)  # ten times as rarely as by default
        gc.enable()


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of the tiny base model of a family, made once."""
    from tiny import make_base

    made: dict[str, Path] = {}

    def base(family: str) -> Path:
        if family not in made:
            made[family] = make_base(tmp_path_factory.mktemp(family) / "base", family)
        return made[family]

    return base


@pytest.fixture(scope="session")
def adapters(bases: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Folder of a random LoRA adapter for a family's base, made once for each seed and settings."""
    from tiny import make_adapter

    made: dict[str, Path] = {}

    def adapter(family: str, seed: int, **settings: Any) -> Path:
        key = f"{family} {seed} {sorted(settings.items())}"
        if key not in made:
            folder = tmp_path_factory.mktemp("adapters") / f"{family}-{seed}"
            made[key] = make_adapter(folder, bases(family), family, seed=seed, **settings)
        return made[key]

    return adapter


@pytest.fixture
def one_task_of_the_harness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the thousands of tasks that come with lm-eval, it looks through one folder."""
    manager = pytest.importorskip("lm_eval.tasks.manager", reason="the extra `general` is not installed")
    monkeypatch.setattr(manager, "__file__", str(Path(manager.__file__).parent / "piqa" / "manager.py"))


@pytest.fixture(scope="session")
def real_tasks_folder() -> Path:
    """Folder of the eight real tasks; tests that need it are skipped where it is not at hand."""
    named = os.environ.get("MODECONN_TEST_DATA")
    folder = (Path(named) if named else Path(__file__).parents[2] / "shared" / "data") / "tasks"
    if named and not folder.is_dir():
        pytest.fail(f"MODECONN_TEST_DATA is set, but there is no folder {folder}")
    if not folder.is_dir():
        pytest.skip("no real tasks: set MODECONN_TEST_DATA to the folder that holds tasks/")
    return folder
