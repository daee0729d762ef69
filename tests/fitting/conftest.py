import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import LABELS, WORDS, make_adapter, make_base

import modeconn as mc


def _records(labels: tuple[str, ...] | None, count: int, shift: int) -> list[dict[str, str]]:
    """Prompts of different lengths; answers of one label or of 1 to 3 words."""
    return [
        {
            "prompt": " ".join(WORDS[(i * k + shift) % 15] for k in range(1, 3 + (i * 5) % 9)),
            "answer": labels[(i + shift) % len(labels)]
            if labels
            else " ".join(WORDS[(i + k) % 15] for k in range(1 + i % 3)),
        }
        for i in range(count)
    ]


@pytest.fixture(scope="session")
def make_fit_task() -> Callable[..., mc.Task]:
    """A task with a training and a validation split, and no other; the second is a part of the first."""

    def make(name: str = "words", *, labels: tuple[str, ...] | None = None, count: int = 24, shift: int = 0) -> mc.Task:
        splits = {"train": _records(labels, count, shift), "eval": _records(labels, 6, shift)}
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


OTHER_LABELS = ("yes", "no")


@pytest.fixture(scope="session")
def two_heads(tmp_path_factory: pytest.TempPathFactory) -> list[mc.Adapter]:
    """Adapters of one classifier whose heads have three classes and two."""
    root = tmp_path_factory.mktemp("heads")
    for seed, labels in enumerate([LABELS, OTHER_LABELS]):
        base = make_base(root / f"base-{seed}", "bert", num_labels=len(labels))
        folder = make_adapter(root / f"end-{seed}", base, "bert", seed=seed)
        config = json.loads((folder / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = str(root / "base-0")
        (folder / "adapter_config.json").write_text(json.dumps(config))
        (folder / "modeconn.json").write_text(json.dumps({"labels": list(labels)}))
    return [mc.Adapter.from_pretrained(root / f"end-{seed}") for seed in (0, 1)]


@pytest.fixture(scope="session")
def task_of_each_head(make_fit_task: Callable[..., mc.Task]) -> list[mc.Task]:
    """A task for either head."""
    return [make_fit_task("first", labels=LABELS), make_fit_task("second", labels=OTHER_LABELS, shift=1)]
