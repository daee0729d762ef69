"""Tasks as files, the command line of an evaluation, what it leaves, and the formats of its figures."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from evaluation_tasks import make_task

from modeconn.cli.main import main
from modeconn.plotting.saving import FORMATS, save_figure


@pytest.fixture(scope="module")
def svg_only() -> Iterator[None]:
    """Figures are written as SVG alone: in three formats they take longer than all the rest of a small run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(save_figure.__kwdefaults__, "formats", ("svg",))
        yield


@pytest.fixture
def all_formats(svg_only: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """Figures are written as always, where the module has them as SVG."""
    monkeypatch.setitem(save_figure.__kwdefaults__, "formats", FORMATS)


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


@pytest.fixture(scope="session")
def line_of_two_tasks(adapters: Callable[..., Path], task_folders: list[str]) -> tuple[str, ...]:
    """What `line` gives."""
    ends = ["--start", str(adapters("llama", 1)), "--end", str(adapters("llama", 2))]
    return ("evaluate", *ends, "--tasks", *task_folders, "--num-points", "3", "--quiet")


@pytest.fixture
def line(line_of_two_tasks: tuple[str, ...]) -> list[str]:
    """The arguments of an evaluation, its output folder left out."""
    return list(line_of_two_tasks)


@pytest.fixture
def short(line: list[str], task_folders: list[str]) -> list[str]:
    """The same of one task at the two ends alone."""
    return [*line, "--tasks", task_folders[0], "--num-points", "2"]


@pytest.fixture(scope="session")
def evaluated(line_of_two_tasks: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder that `line` makes, figures as SVG; not to be changed."""
    folder = tmp_path_factory.mktemp("evaluated") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(save_figure.__kwdefaults__, "formats", ("svg",))
        assert main([*line_of_two_tasks, "--output-dir", str(folder)]) == 0
    return folder


@pytest.fixture
def with_eval(line: list[str], task_folders: list[str], tmp_path: Path) -> list[str]:
    """The arguments of an evaluation of tasks that have a validation split, too."""
    folders = []
    for source in map(Path, task_folders):
        folder = tmp_path / source.name
        folder.mkdir()
        records = json.loads((source / "test.json").read_text())
        (folder / "task.json").write_text((source / "task.json").read_text())
        (folder / "eval.json").write_text(json.dumps(records[:11]))
        (folder / "test.json").write_text(json.dumps(records[11:]))
        folders.append(str(folder))
    first = line.index("--tasks") + 1
    return [*line[:first], *folders, *line[first + 2 :]]
