from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import LABELS
from two_heads import adapters_of_two_heads, tasks_of_two_heads, words_and

import modeconn as mc


@pytest.fixture(scope="session")
def make_fit_task() -> Callable[..., mc.Task]:
    """A task with a training and a validation split, and no other; the second is a part of the first."""

    def make(name: str = "words", *, labels: tuple[str, ...] | None = None, count: int = 24, shift: int = 0) -> mc.Task:
        splits = {"train": words_and(labels, count, shift), "eval": words_and(labels, 6, shift)}
        return mc.Task.from_records(name, splits, labels=labels)

    return make


@pytest.fixture(scope="session")
def words(make_fit_task: Callable[..., mc.Task]) -> Callable[[str], mc.Task]:
    """The task for a family: labels for a classifier, words for the others."""
    return lambda family: make_fit_task(labels=LABELS if family == "bert" else None)


@pytest.fixture(scope="session")
def ends_and_model(adapters: Callable[..., Path]) -> Callable[..., tuple[list[mc.Adapter], mc.AdapterModel]]:
    """Random adapters of a family's base and the model, loaded once for each dtype and settings."""
    made: dict[str, tuple[list[mc.Adapter], mc.AdapterModel]] = {}

    def load(
        family: str, *, dtype: str = "float32", count: int = 2, **settings: object
    ) -> tuple[list[mc.Adapter], mc.AdapterModel]:
        key = f"{family} {dtype} {count} {sorted(settings.items())}"
        if key not in made:
            points = [mc.Adapter.from_pretrained(adapters(family, seed, **settings)) for seed in range(1, count + 1)]
            labels = LABELS if family == "bert" else None
            made[key] = points, mc.AdapterModel.from_pretrained(adapters=points, dtype=dtype, labels=labels)
        return made[key]

    return load


@pytest.fixture(scope="session")
def two_heads(tmp_path_factory: pytest.TempPathFactory) -> list[mc.Adapter]:
    """Adapters of one classifier whose heads have three classes and two."""
    return adapters_of_two_heads(tmp_path_factory.mktemp("heads"))


@pytest.fixture(scope="session")
def task_of_each_head() -> list[mc.Task]:
    """A task for either head."""
    return tasks_of_two_heads()
