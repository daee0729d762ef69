"""Classification heads: how many classes, and what they are called."""

import re
from collections.abc import Mapping, Sequence

from modeconn.adapters.adapter import Adapter
from modeconn.errors import ModelError

_LAST_LAYER = re.compile(r"(^|\.)(classifier|score|out_proj)\.weight$")


def head_size(adapters: Sequence[Adapter]) -> int | None:
    """The number of classes of the adapters' saved heads, or None if they have none."""
    for adapter in adapters:
        for name, value in adapter.saved.items():
            if adapter.config.task_type == "SEQ_CLS" and _LAST_LAYER.search(name):
                return value.shape[0]
    return None


def head_labels(adapters: Sequence[Adapter], given: Sequence[str] | None) -> tuple[str, ...] | None:
    """The names of the classes: those given, else those that the adapters recorded.

    Raises:
        ModelError: If adapters recorded different ones, or the number is not the head's.
    """
    recorded = {tuple(adapter.provenance["labels"]) for adapter in adapters if adapter.provenance.get("labels")}
    if given is None and len(recorded) > 1:
        raise ModelError(
            "the adapters' heads have different classes",
            expected="one head over the union of the tasks' labels",
            got=" and ".join(str(list(labels)) for labels in sorted(recorded)),
            remedy="train them in one run, which makes one head",
        )
    labels = tuple(given) if given is not None else next(iter(recorded), None)
    size = head_size(adapters)
    if labels is not None and size is not None and len(labels) != size:
        raise ModelError(
            "the labels do not fit the adapters' head",
            expected=f"{size} names, one for each class",
            got=f"{len(labels)}: {', '.join(labels)}",
            remedy="give the labels in the order of the head",
        )
    return labels


def base_labels(id2label: Mapping[int, str] | None) -> tuple[str, ...]:
    """The class names in a base model's config; none where they are the placeholders LABEL_0, LABEL_1, ..."""
    names = tuple(id2label[number] for number in sorted(id2label)) if id2label else ()
    return () if all(re.fullmatch(r"LABEL_\d+", name) for name in names) else names


def labels_for_task(labels: tuple[str, ...], task_labels: tuple[str, ...] | None, num_classes: int) -> tuple[str, ...]:
    """The names of a head's classes, those of the task where nothing else is known and the number is right.

    Raises:
        ModelError: If the names are not known.
    """
    if labels:
        return labels
    if task_labels and len(task_labels) == num_classes:
        return task_labels
    raise ModelError(
        "the names of the classifier's classes are not known",
        expected=f"{num_classes} names in the order of the head",
        got="none recorded with the adapters or the base, and the task has "
        + (f"{len(task_labels)} labels" if task_labels else "no labels"),
        remedy="give labels=... (--labels), in the order in which the head was trained",
    )
