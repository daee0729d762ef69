"""Progress on stderr, told by functions that know nothing of how it is shown."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, Task, TaskID

Report = Callable[[int, int, str], None]
_WINDOW = 3600.0  # seconds that the time left is estimated from: a point may take minutes


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
    from rich.progress import Progress, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    bars = (*_columns(), TimeElapsedColumn(), TimeLeft())
    with Progress(*bars, console=Console(stderr=True), speed_estimate_period=_WINDOW) as shown:
        yield _Shown(shown)


class _Shown:
    """Progress as bars of rich, one for each `what`."""

    def __init__(self, shown: "Progress") -> None:
        self._shown = shown
        self._bars: dict[str, TaskID] = {}
        self._tokens: dict[str, int] = {}

    def __call__(self, done: int, total: int, what: str) -> None:
        """Moves the bar of `what`."""
        if what not in self._bars:
            self._bars[what] = self._shown.add_task(what, total=total, tokens=self._tokens.get(what, 0))
        self._shown.update(self._bars[what], completed=done, total=total)

    def tokens(self, what: str, number: int) -> None:
        """Takes the tokens of every step of `what`: its bar shows tokens a second, too."""
        self._tokens[what] = number


def _columns() -> "tuple[ProgressColumn, ...]":
    """What, how far, and tokens a second where steps are made of tokens."""
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: "Task") -> Text:
            rate = (task.finished_speed or task.speed or 0.0) * task.fields["tokens"]
            return Text(f"{rate:,.0f} tokens/s" if rate else "", style="progress.data.speed")

    return TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), Rate()


def say_shown_again(folder: Path) -> None:
    """Says on stderr that what follows is the result of a former run."""
    print(f"finished before, shown again: {folder}", file=sys.stderr)


def _untold(done: int, total: int, what: str) -> None:
    """Takes progress and shows nothing."""
