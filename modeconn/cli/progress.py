"""Progress on stderr, told by functions that know nothing of how it is shown."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Report = Callable[[int, int, str], None]


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Report]:
    """Shows progress while the block runs; silent where stderr is no terminal.

    Args:
        quiet: Show nothing.

    Yields:
        `report(done, total, what)` for library functions to call: each new `what` gets a bar of its own.

    Example:
        >>> with progress(quiet=True) as report:
        ...     report(1, 21, "points of the line")
    """
    if quiet or not sys.stderr.isatty():
        yield _untold
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    bars = {}
    with Progress(*columns, TimeElapsedColumn(), TimeLeft(), console=Console(stderr=True)) as shown:

        def report(done: int, total: int, what: str) -> None:
            if what not in bars:
                bars[what] = shown.add_task(what, total=total)
            shown.update(bars[what], completed=done, total=total)

        yield report


def say_shown_again(folder: Path) -> None:
    """Says on stderr that what follows is the result of a former run."""
    print(f"finished before, shown again: {folder}", file=sys.stderr)


def _untold(done: int, total: int, what: str) -> None:
    """Takes progress and shows nothing."""
