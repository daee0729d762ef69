"""A mixture of tasks as it is typed: `--mixture old=2 new=1`."""

from collections.abc import Mapping, Sequence


def mixture_weights(given: Sequence[str]) -> dict[str, float]:
    """Task -> weight of what was typed.

    Args:
        given: `TASK=WEIGHT` each; a task's name may hold an equals sign itself.

    Raises:
        EvaluationError: If one is not so, a weight is not positive and finite, or a task is named twice.

    Example:
        >>> mixture_weights(["old=2", "new=1"])
        {'old': 2.0, 'new': 1.0}
    """
    from modeconn.errors import EvaluationError

    found: dict[str, float] = {}
    for one in given:
        task, _, text = one.rpartition("=")
        weight = _number(text)
        if not task or task in found or not 0 < weight < float("inf"):
            raise EvaluationError(
                "a mixture of tasks cannot be read",
                expected="a task's name and a positive weight, each task once: old=2 new=1",
                got=" ".join(given),
                remedy="give --mixture TASK=WEIGHT TASK=WEIGHT; the weights need not sum to 1",
            )
        found[task] = weight
    return found


def mixture_name(weights: Mapping[str, float]) -> str:
    """What tables call a mixture, by the shares of its tasks.

    Example:
        >>> mixture_name({"old": 2.0, "new": 1.0})
        '0.667 old + 0.333 new'
    """
    total = sum(weights.values())
    return " + ".join(f"{weight / total:.3g} {task}" for task, weight in weights.items())


def check_mixture(weights: Mapping[str, float], tasks: Sequence[str]) -> None:
    """Raise unless a mixture is of tasks that are evaluated.

    Args:
        weights: Task -> weight; empty where none was asked for.
        tasks: The names of the tasks.

    Raises:
        EvaluationError: If one is not there.
    """
    from modeconn.evaluation.mixtures import expanded

    if weights:
        expanded(weights, list(tasks), {}, mixture_name(weights))


def _number(text: str) -> float:
    """The number of a text; NaN if it is none."""
    try:
        return float(text)
    except ValueError:
        return float("nan")
