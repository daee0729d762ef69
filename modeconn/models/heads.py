"""Classification heads: how many classes, and what they are called."""

import re
from collections.abc import Mapping, Sequence

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.skeleton import CLASSIFIERS
from modeconn.errors import ModelError
from modeconn.tasks.task import Task

_LAST_LAYER = re.compile(r"(^|\.)(classifier(\.\d+)?|score|out_proj)\.weight$")


def head_size(adapters: Sequence[Adapter], *, task_type: str) -> int | None:
    """The number of classes of the adapters' saved heads, or None if they have none.

    Args:
        adapters: Adapters of one model.
        task_type: What the model is used for, whether the adapters say so or not.
    """
    if task_type not in CLASSIFIERS:
        return None
    heads = (value for adapter in adapters for name, value in adapter.saved.items() if _LAST_LAYER.search(name))
    return next((head.shape[0] for head in heads), None)


def head_labels(adapters: Sequence[Adapter], given: Sequence[str] | None, *, task_type: str) -> tuple[str, ...] | None:
    """The names of the classes: those given, else those that the adapters recorded.

    Raises:
        ModelError: If names are given for a model without classes, an adapter recorded others than those, or the
            number is not the head's.
    """
    if given is not None and task_type not in CLASSIFIERS:
        raise without_classes("labels (--labels)", task_type)
    recorded = [tuple(adapter.provenance["labels"]) for adapter in adapters if adapter.provenance.get("labels")]
    labels = tuple(given) if given is not None else next(iter(recorded), None)
    for adapter in adapters:
        check_recorded(adapter, labels or ())
    size = head_size(adapters, task_type=task_type)
    if labels is not None and size is not None and len(labels) != size:
        raise ModelError(
            "the labels do not fit the adapters' head",
            expected=f"{size} names, one for each class",
            got=f"{len(labels)}: {', '.join(labels)}",
            remedy="give the labels in the order of the head",
        )
    return labels


def without_classes(setting: str, task_type: str) -> ModelError:
    """The error of a setting that only a classifier follows."""
    return ModelError(
        f"{setting} cannot be followed: the model has no classes",
        expected="a sequence classifier (SEQ_CLS)",
        got=f"a model of the kind {task_type}",
        remedy=f"leave {setting} out, or give task_type (--task-type) SEQ_CLS if the adapters are a classifier's",
    )


def check_recorded(point: Adapter, labels: Sequence[str]) -> None:
    """Raise unless the classes that a point recorded are the model's; blanks around a name do not count.

    Raises:
        ModelError: If they are others, or in another order.
    """
    recorded = point.provenance.get("labels")
    if recorded and labels and _bare(recorded) != _bare(labels):
        raise ModelError(
            f"the head of {point.name} has other classes than the model",
            expected=f"the classes that were recorded in training, {list(recorded)}",
            got=str(list(labels)),
            remedy="load the model for this adapter, and leave labels= (--labels) out",
        )


def _bare(labels: Sequence[str]) -> list[str]:
    """Names without the blanks around them."""
    return [label.strip() for label in labels]


def base_labels(id2label: Mapping[int, str] | None) -> tuple[str, ...]:
    """The class names in a base model's config; none where they are the placeholders LABEL_0, LABEL_1, ..."""
    names = tuple(id2label[number] for number in sorted(id2label)) if id2label else ()
    return () if all(re.fullmatch(r"LABEL_\d+", name) for name in names) else names


def labels_for_task(
    labels: tuple[str, ...], task: Task, num_classes: int, *, taken: dict[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """The names of a head's classes; those that the task declares where nothing else is known and the number is right.

    Args:
        labels: The names that are known, if any.
        task: The task.
        num_classes: Classes of the head.
        taken: Task -> the names that were taken from it, one task or none; the first is added.

    Raises:
        ModelError: If the names are not known, the order of the task's labels is that of the alphabet because nobody
            declared one, or an earlier task named the classes otherwise.
    """
    if labels:
        return labels
    if not task.labels or len(task.labels) != num_classes:
        has = f"{len(task.labels)} labels" if task.labels else "no labels"
        raise _unknown_classes(f"{num_classes} names in the order of the head", f"the task {task.name} has {has}")
    if task.labels_collected:
        expected = f'{num_classes} names in the order of the head, such as "labels" in a task.json'
        raise _unknown_classes(expected, f"those of {task.name} were collected from its data, in alphabetical order")
    first, names = next(iter(taken.items()), (task.name, task.labels))
    if _bare(names) != _bare(task.labels):
        raise ModelError(
            "two tasks name the classifier's classes differently",
            expected="one list of names in the order of the head; none is recorded with the adapters or the base",
            got=f"{list(names)} ({first}) and {list(task.labels)} ({task.name})",
            remedy="give labels=... (--labels), in the order in which the head was trained",
        )
    taken.setdefault(first, names)
    return task.labels


def _unknown_classes(expected: str, task: str) -> ModelError:
    """The error for a head whose classes nobody has named."""
    return ModelError(
        "the names of the classifier's classes are not known",
        expected=expected,
        got=f"none recorded with the adapters or the base, and {task}",
        remedy="give labels=... (--labels), in the order in which the head was trained",
    )
