"""When to stop looking at growing samples, so that the intervals stay what they say."""

from modeconn.errors import EvaluationError
from modeconn.evaluation.intervals import MIN_EXAMPLES


def look_sizes(num_examples: int, num_first: int) -> list[int]:
    """How many examples are known at each look: doubled until there are no more.

    Args:
        num_examples: All that there are.
        num_first: At the first look.

    Raises:
        EvaluationError: If the first look is of fewer than 8.

    Example:
        >>> look_sizes(1000, 200)
        [200, 400, 800, 1000]
    """
    if num_first < MIN_EXAMPLES:
        raise EvaluationError(
            "the first sample is too small for an interval",
            expected=f"num_first of at least {MIN_EXAMPLES}",
            got=f"num_first={num_first}",
            remedy="use num_first=200, or more where few examples carry the loss",
        )
    sizes = [min(num_first, num_examples)]
    while sizes[-1] < num_examples:
        sizes.append(min(2 * sizes[-1], num_examples))
    return sizes


def confidence_of_a_look(confidence: float, num_looks: int) -> float:
    """The confidence of each look's interval, `1 - (1 - confidence) / K`.

    The chance that any of K such intervals misses is at most `1 - confidence` (Bonferroni), so whichever of them is
    reported, for whatever reason, keeps it.

    Args:
        confidence: That of the reported interval.
        num_looks: K, planned beforehand.

    Example:
        >>> round(confidence_of_a_look(0.95, 5), 6)
        0.99
    """
    return 1 - (1 - confidence) / num_looks
