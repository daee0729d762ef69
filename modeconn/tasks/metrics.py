"""Scores of examples: arrays in, one score in [0, 1] for each example out. N is the number of examples."""

import numpy as np
from numpy.typing import ArrayLike

from modeconn.errors import EvaluationError, TaskError, listed

METRICS = ("accuracy", "exact_match")


def accuracy(predicted: ArrayLike, expected: ArrayLike) -> np.ndarray:
    """1 where the predicted label is the expected one, else 0; its mean is the accuracy.

    Args:
        predicted: Label indices or names, [N].
        expected: Label indices or names, [N].

    Returns:
        Scores, [N], float64.

    Raises:
        EvaluationError: If the two are not vectors of one length.

    Example:
        >>> accuracy([0, 2, 1, 1], [0, 2, 2, 1]).mean()
        np.float64(0.75)
    """
    predicted, expected = _paired(np.asarray(predicted), np.asarray(expected))
    return (predicted == expected).astype(np.float64)


def exact_match(predicted: ArrayLike, expected: ArrayLike) -> np.ndarray:
    r"""1 where the predicted text is the expected one but for spaces around it, else 0.

    Args:
        predicted: Texts, [N].
        expected: Texts, [N].

    Returns:
        Scores, [N], float64.

    Raises:
        EvaluationError: If the two are not vectors of one length.

    Example:
        >>> exact_match([" 42", "a  b"], ["42\n", "a b"]).tolist()
        [1.0, 0.0]
    """
    # dtype=object: numpy's own string type would drop NULs at the end of a text.
    predicted, expected = _paired(np.asarray(predicted, dtype=object), np.asarray(expected, dtype=object))
    same = [one.strip() == other.strip() for one, other in zip(predicted, expected, strict=True)]
    return np.asarray(same, dtype=np.float64)


def _paired(predicted: np.ndarray, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both vectors, which must be of one length."""
    if predicted.ndim == 1 and predicted.shape == expected.shape:
        return predicted, expected
    raise EvaluationError(
        "cannot score predictions",
        expected=f"vectors of one length, one entry for each of the {len(np.atleast_1d(expected))} examples",
        got=f"the shapes {predicted.shape} (predicted) and {expected.shape} (expected)",
        remedy="give one prediction for each example",
    )


def checked_metric(metric: str, labels: tuple[str, ...] | None, *, where: str) -> str:
    """The declared metric; where none is declared, `accuracy` with labels and `exact_match` without.

    Raises:
        TaskError: If the metric is not known, or needs labels that the task lacks.

    Example:
        >>> checked_metric("", ("good", "bad"), where="the task 'tone'")
        'accuracy'
    """
    metric = metric or ("exact_match" if labels is None else "accuracy")
    if metric not in METRICS:
        raise TaskError(
            f"cannot score {where}",
            expected=f"one of the metrics {listed(METRICS)}",
            got=repr(metric),
            remedy="choose a metric that is known, or leave it out",
        )
    if metric == "accuracy" and labels is None:
        raise TaskError(
            f"cannot score {where}",
            expected="a label set for the metric accuracy",
            got="free answers",
            remedy='list the labels, as "labels" in task.json or with labels=, or choose exact_match',
        )
    return metric
