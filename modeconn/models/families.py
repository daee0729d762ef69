"""Which family a model belongs to."""

from dataclasses import replace
from typing import Any

from modeconn.adapters.skeleton import IMAGES
from modeconn.models.family import Causal, Classifier, Family, Seq2Seq
from modeconn.models.heads import labels_for_task
from modeconn.models.image_classifier import ImageClassifier
from modeconn.tasks.task import Task


def family_of(task_type: str, labels: tuple[str, ...] | None) -> Family:
    """The family of a task type.

    Args:
        task_type: PEFT's name of the kind, or IMAGE_CLASSIFICATION.
        labels: A classifier's classes in the order of its head, where they are known.

    Example:
        >>> family_of("SEQ_CLS", ("good", "bad"))
        Classifier(labels=('good', 'bad'), task_type='SEQ_CLS', packed=False, lean=False)
    """
    if task_type in (IMAGES, "SEQ_CLS"):
        return (ImageClassifier if task_type == IMAGES else Classifier)(labels or ())
    return Seq2Seq() if task_type == "SEQ_2_SEQ_LM" else Causal()


def family_for_task(family: Family, task: Task, module: Any, taken: dict[str, tuple[str, ...]]) -> Family:  # noqa: ANN401
    """The family with names for all classes, where it is a classifier.

    Args:
        family: How the model is called.
        task: Names the classes where nothing else does.
        module: The model.
        taken: Task -> its labels, which name the classes from then on; filled in here.

    Raises:
        ModelError: If the classes have no known names, or an earlier task gave them others.
    """
    if not isinstance(family, Classifier):
        return family
    labels = labels_for_task(family.labels, task, int(module.config.num_labels), taken=taken)
    return replace(family, labels=labels)
