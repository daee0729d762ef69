"""The splits of a task, and what was read of them before it is checked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from modeconn.errors import TaskError, listed

from .columns import Columns
from .examples import Example, ImageExample, examples_from

ALIASES = {
    "train": ("train",),
    "eval": ("eval", "validation", "valid", "val", "dev"),
    "test": ("test",),
}


@dataclass(frozen=True)
class RawTask:
    """A task as it was read: records that nobody has looked at yet.

    Attributes:
        name: The task's name, unless the user gives another.
        splits: The records of each split.
        origins: Where each split came from, for messages.
        labels: The declared label set, checked.
        class_names: The label sets that the data themselves declare, by column.
        metric: The declared metric; empty if none.
        max_new_tokens: How long a written answer may become, if that is declared.
        source: Where the data come from.
    """

    name: str
    splits: Mapping[str, Sequence[object]]
    origins: Mapping[str, str]
    labels: tuple[str, ...] | None = None
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    metric: str = ""
    max_new_tokens: int | None = None
    source: str = ""


def check_name(name: object) -> None:
    """Raise TaskError unless a task's name is one."""
    if not isinstance(name, str) or not name.strip():
        raise TaskError(
            "cannot make a task",
            expected="a name that is not blank",
            got=repr(name),
            remedy="give the task a name",
        )


def check_split_names(names: Iterable[str], *, where: str) -> None:
    """Raise TaskError unless all names are those of a task's splits."""
    unknown = [repr(name) for name in names if name not in ALIASES]
    if unknown:
        raise TaskError(
            f"cannot use the splits of {where}",
            expected=f"splits called {listed(map(repr, ALIASES))}",
            got=listed(unknown),
            remedy="rename the splits",
        )


def checked_splits(
    splits: Mapping[str, Iterable[Example]], labels: tuple[str, ...] | None, *, where: str
) -> Mapping[str, tuple[Example, ...]]:
    """The splits of a task in their usual order, read-only.

    Raises:
        TaskError: If there is none, one is unknown or empty, or an example cannot be used.
    """
    check_split_names(splits, where=where)
    if not splits:
        raise TaskError(
            f"{where} has no splits",
            expected="one or more of the splits train, eval and test",
            got="none",
            remedy="give the examples of a split",
        )
    checked = {
        split: examples_from(
            tuple(splits[split]), Columns(), labels=labels, where=f"the {split} split of {where}"
        ).examples
        for split in ALIASES
        if split in splits
    }
    kinds = {isinstance(example, ImageExample) for examples in checked.values() for example in examples}
    if len(kinds) > 1:
        raise TaskError(
            f"{where} mixes images and texts",
            expected="images in all examples of all splits, or in none",
            got="both",
            remedy="make two tasks of them",
        )
    return MappingProxyType(checked)


def choose_splits(found: Mapping[str, str], chosen: Mapping[str, str] | None = None, *, where: str) -> dict[str, str]:
    """Which of the things found serves as which split.

    Args:
        found: The name each thing goes by in a source (`train.csv`) -> its split there (`train`).
        chosen: The user's choice: split of the task -> split or name in the source. By default the
            usual names are looked for, and what has another name is left out.
        where: The source, for messages.

    Returns:
        Split of the task -> name in the source.

    Raises:
        TaskError: If a split is not there, none is, or two things could be the same one.

    Example:
        >>> choose_splits({"train.json": "train", "dev.json": "dev", "notes.json": "notes"}, where="here")
        {'train': 'train.json', 'eval': 'dev.json'}
    """
    check_split_names(chosen or (), where="splits=")
    wanted = ALIASES if chosen is None else {split: (name,) for split, name in chosen.items()}
    matches = {
        split: [shown for shown, name in found.items() if name in wanted[split] or shown in wanted[split]]
        for split in ALIASES
        if split in wanted
    }
    for split, shown in matches.items():
        if len(shown) > 1:
            raise _ambiguous(split, shown, where)
    missing = [repr(wanted[split][0]) for split, shown in matches.items() if not shown]
    if len(missing) == len(matches) or (chosen and missing):
        raise TaskError(
            f"cannot find the splits of {where}",
            expected=listed(missing) if chosen else "one or more of the splits train, eval and test",
            got=listed(map(repr, found)),
            remedy="rename the splits, or say which is which: splits={'train': ..., 'test': ...}",
        )
    return {split: shown[0] for split, shown in matches.items() if shown}


def _ambiguous(split: str, shown: list[str], where: str) -> TaskError:
    """The error of a split that two things could be."""
    return TaskError(
        f"cannot tell the {split} split of {where}",
        expected=f"one source of the {split} split",
        got=listed(shown),
        remedy=f"remove all but one, or choose: splits={{{split!r}: {shown[0]!r}}}",
    )
