"""Which family a model belongs to."""

from modeconn.adapters.skeleton import IMAGES
from modeconn.models.family import Causal, Classifier, Family, Seq2Seq
from modeconn.models.image_classifier import ImageClassifier


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
