"""Errors that say what failed, what was expected, what came and what to do."""

from collections.abc import Iterable


class ModeconnError(Exception):
    """An error that a user can mend, told in four parts.

    Args:
        failed: What could not be done, one line.
        expected: What the operation needs.
        got: What it found instead.
        remedy: What the user can do about it.

    Example:
        >>> print(ModeconnError("cannot read x.json", expected="a list", got="a number", remedy="fix it"))
        cannot read x.json
          expected: a list
          got: a number
          remedy: fix it
    """

    def __init__(self, failed: str, *, expected: str, got: str, remedy: str) -> None:
        self.failed, self.expected, self.got, self.remedy = failed, expected, got, remedy
        super().__init__(f"{failed}\n  expected: {expected}\n  got: {got}\n  remedy: {remedy}")


class AdapterError(ModeconnError):
    """An adapter cannot be read, combined or written."""


class ModelError(ModeconnError):
    """A base model cannot be loaded, or a point does not fit it."""


class TaskError(ModeconnError):
    """A task's files or examples are not what a task needs."""


class PathError(ModeconnError):
    """A path cannot be built or sampled as asked."""


class EvaluationError(ModeconnError):
    """An evaluation gave numbers that must not be reported."""


class FitError(ModeconnError):
    """A curve cannot be fitted as asked, or a fit went wrong."""


class RunError(ModeconnError):
    """A run folder cannot be used, or a run's settings are wrong."""


def listed(names: Iterable[str], *, limit: int = 10) -> str:
    """Sorted names for a message: the first `limit`, then the count of the rest.

    Example:
        >>> listed(["b", "a", "c"], limit=2)
        'a, b and 1 more (3 in all)'
    """
    ordered = sorted(names)
    shown = ", ".join(ordered[:limit])
    rest = len(ordered) - limit
    return f"{shown} and {rest} more ({len(ordered)} in all)" if rest > 0 else shown or "none"
