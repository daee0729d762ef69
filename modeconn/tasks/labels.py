"""The label set of a task: declared and checked, or collected from the data."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING

from modeconn.errors import TaskError, listed

from .columns import Columns
from .examples import Example

if TYPE_CHECKING:
    from .task import Task


def checked_labels(labels: object, *, where: str) -> tuple[str, ...] | None:
    """The declared label set as a tuple; None stays None.

    Args:
        labels: A list or tuple of names. Its order counts: it is what label indices point into.
        where: Who declared it, for the message.

    Raises:
        TaskError: If it is not a list of names, is empty, or names a label twice (spaces around a
            name do not make it another one).

    Example:
        >>> checked_labels(["good", "bad"], where="task.json")
        ('good', 'bad')
    """
    if labels is None:
        return None
    if not isinstance(labels, Sequence) or isinstance(labels, str | bytes):
        raise _unfit(where, f"a value of type {type(labels).__name__}")
    if not labels:
        raise _unfit(where, "an empty list", remedy="list the labels, or leave the key out for free answers")
    wrong = [repr(label) for label in labels if not isinstance(label, str) or not label.strip()]
    if wrong:
        raise _unfit(where, listed(wrong))
    counts = Counter(label.strip() for label in labels)
    twice = [repr(label) for label, count in counts.items() if count > 1]
    if twice:
        raise _unfit(where, f"{listed(twice)} more than once", remedy="name each label once")
    return tuple(labels)


def _unfit(where: str, got: str, remedy: str = "write the labels as a list of strings") -> TaskError:
    """The error of a label set that is none."""
    return TaskError(
        f"cannot use the labels of {where}",
        expected="a list of different label names that are not blank",
        got=got,
        remedy=remedy,
    )


def collected_labels(splits: Mapping[str, Sequence[object]], columns: Columns) -> tuple[str, ...] | None:
    """The sorted labels of the train split, of all splits where there is no train split.

    Only a column called `label` holds labels; any other holds free answers, and the result is None.
    It is None, too, where a label is a number: an index into a set that nobody declared.

    Example:
        >>> collected_labels({"train": [{"label": "no"}, {"label": "yes"}]}, Columns("text", "label"))
        ('no', 'yes')
    """
    if columns.answer != "label":
        return None
    chosen = [splits["train"]] if "train" in splits else splits.values()
    values = [_answer(record, columns) for records in chosen for record in records]
    if any(isinstance(value, Integral) and not isinstance(value, bool) for value in values):
        return None
    names = {value for value in values if isinstance(value, str) and value.strip()}
    return tuple(sorted(names)) or None


def _answer(record: object, columns: Columns) -> object:
    """A record's answer as it stands, or None."""
    if isinstance(record, Example):
        return record.answer
    return record.get(columns.answer) if isinstance(record, Mapping) else None


def union_of_labels(tasks: "Iterable[Task]") -> tuple[str, ...]:
    """The labels of all tasks, in the order in which they come first; spaces around a name do not count.

    Args:
        tasks: Tasks with or without labels.

    Returns:
        Every label in the spelling that came first, empty where no task has labels.

    Example:
        >>> from modeconn.tasks import Example, Task
        >>> test = {"test": (Example("fine", "good"),)}
        >>> tone, mood = Task("tone", test, labels=("good", "bad")), Task("mood", test, labels=("fair", "good"))
        >>> union_of_labels([tone, mood])
        ('good', 'bad', 'fair')
    """
    union: dict[str, str] = {}
    for task in tasks:
        for label in task.labels or ():
            union.setdefault(label.strip(), label)
    return tuple(union.values())
