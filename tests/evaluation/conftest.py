from collections.abc import Callable
from pathlib import Path

import pytest
from evaluation_tasks import make_task

import modeconn as mc


@pytest.fixture(scope="session")
def tasks() -> list[mc.Task]:
    return [make_task("first", 0), make_task("second", 1, labels=False)]


@pytest.fixture(scope="session")
def ends(adapters: Callable[..., Path]) -> list[mc.Adapter]:
    """Two adapters of a tiny llama with different ranks."""
    return [mc.Adapter.from_pretrained(adapters("llama", seed, r=3 + seed)) for seed in (1, 2)]


@pytest.fixture(scope="session")
def model(ends: list[mc.Adapter]) -> mc.AdapterModel:
    return mc.AdapterModel.from_pretrained(adapters=ends)
