"""Remarks on what a command did: nothing is wrong, but a reader of its numbers should know."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modeconn.adapters.adapter import Adapter
    from modeconn.runs import RunFolder
    from modeconn.tasks.task import Task


def on_left_out(tasks: "Iterable[Task]", splits: Sequence[str]) -> list[str]:
    """One remark for each split of a task that examples were left out of.

    Args:
        tasks: The tasks as they were loaded.
        splits: The splits that the command read.
    """
    return [
        f"{task.name}/{split}: {count} of {count + len(task.split(split))} examples left out, with other answers than"
        " the task's labels"
        for task in tasks
        for split, count in task.num_left_out.items()
        if split in splits
    ]


def on_other_bases(adapters: "Iterable[Adapter]", base_model: str | None) -> list[str]:
    """One remark for each adapter that names another base model than the one given, and holds no means to check it.

    A base's fingerprint, where the training recorded it, says whether two names are one model: then nothing is left
    to remark.

    Args:
        adapters: The points that are evaluated.
        base_model: The base that was given; None takes the one that the adapters name.
    """
    from modeconn.runs import resolved

    if base_model is None:
        return []
    return [
        f"base named by the adapter {adapter.name}: {adapter.config.base_model}; used: {base_model}"
        for adapter in adapters
        if adapter.config.base_model
        and resolved(adapter.config.base_model) != resolved(base_model)
        and "base_fingerprint" not in adapter.provenance
    ]


def on_classes(folder: "RunFolder") -> list[str]:
    """A remark where a task named the classes of the head, because neither adapters nor base recorded names.

    Args:
        folder: The folder of a run that recorded `classes_taken`.
    """
    from modeconn.runs import read_record

    record = read_record(folder.folder)
    taken = record.facts.get("classes_taken", {}) if record else {}
    return [f"classes taken in the order of {task}'s labels: {', '.join(labels)}" for task, labels in taken.items()]


def print_notes(notes: Sequence[str]) -> None:
    """Print remarks, one a line."""
    for note in notes:
        print(f"note: {note}")
