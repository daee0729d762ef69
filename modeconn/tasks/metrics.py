"""What a task's score means: the metrics that exist, and which of them a task may declare."""

from modeconn.errors import TaskError, listed

GENERATED = ("rouge_l", "sari", "edit_similarity", "exact_number", "generated_exact_match")
METRICS = ("accuracy", "exact_match", *GENERATED)
MAX_NEW_TOKENS = 256  # where a task does not say


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


def check_max_new_tokens(count: object, *, where: str) -> None:
    """Raise unless a task's `max_new_tokens` is a number of tokens, or None.

    Raises:
        TaskError: If it is neither.
    """
    if count is None or (isinstance(count, int) and not isinstance(count, bool) and count >= 1):
        return
    raise TaskError(
        f"max_new_tokens of {where} is no number of tokens",
        expected="a whole number, 1 or more: how long an answer may become",
        got=repr(count),
        remedy=f"mend it in task.json, or leave it out for {MAX_NEW_TOKENS}",
    )
