"""The command in several processes: the main one speaks for all."""

import os
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modeconn.runs.processes import Processes


def run_together(work: "Callable[[Processes], int]") -> int:
    """Runs a command line in this process of a launch; all but the main process are silent.

    Args:
        work: The command line; it tells its errors itself.

    Returns:
        The exit code. Only the main process's says what became of the command: a launcher ends all others as soon as
        one of them ends with another code than 0, and the error might not be told.
    """
    from modeconn.runs.processes import Processes

    processes = Processes.joined()
    if processes.is_main:
        return work(processes)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        work(processes)
    return 0
