"""What a task's score means: the metrics that exist, and which of them a task may declare."""

from modeconn.errors import TaskError, listed

METRICS = ("accuracy", "exact_match")


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
