"""Tasks as files, and the command line of an evaluation."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from evaluation_tasks import make_task


@pytest.fixture(scope="session")
def task_folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two tasks as files."""
    folders = []
    for number, name in enumerate(["first", "second"]):
        task = make_task(name, number)
        folder = tmp_path_factory.mktemp("tasks") / name
        folder.mkdir()
        for split, examples in task.splits.items():
            records = [{"prompt": example.prompt, "answer": example.answer} for example in examples]
            (folder / f"{split}.json").write_text(json.dumps(records))
        (folder / "task.json").write_text(json.dumps({"name": name, "labels": task.labels}))
        folders.append(str(folder))
    return folders


@pytest.fixture
def line(adapters: Callable[..., Path], task_folders: list[str]) -> list[str]:
    """The arguments of an evaluation, its output folder left out."""
    ends = ["--start", str(adapters("llama", 1)), "--end", str(adapters("llama", 2))]
    return ["evaluate", *ends, "--tasks", *task_folders, "--num-points", "3", "--quiet"]
