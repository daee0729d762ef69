"""Several processes for tests: threads that exchange what travels, and real ones under torchrun."""

import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from modeconn.runs.processes import Outcome, Processes

# PEFT imports both wherever they are, which takes a third of a process's start: there they are not installed.
WITHOUT_QUANTISED = "import sys; sys.modules['torchao'] = sys.modules['bitsandbytes'] = None\n"


class ThreadProcesses(Processes):
    """Processes that are threads of one process; what they exchange is pickled as between real ones."""

    def __init__(self, index: int, count: int, board: list[Any], barrier: threading.Barrier) -> None:
        super().__init__()
        self.index, self.count = index, count
        self._board, self._barrier = board, barrier

    def _exchanged(self, own: Outcome[Any]) -> list[Outcome[Any]]:
        self._board[self.index] = pickle.dumps(own)
        self._barrier.wait(timeout=30)
        found = [pickle.loads(sent) for sent in self._board]
        self._barrier.wait(timeout=30)
        if any(outcome.failure for outcome in found):
            self.count = 1
        return found


def together(count: int, work: Callable[[Processes], Any]) -> list[Any]:
    """What each of `count` processes returns or raises from work, in their order."""
    board, barrier = [None] * count, threading.Barrier(count)
    found: list[Any] = [None] * count

    def one(index: int) -> None:
        try:
            with ThreadProcesses(index, count, board, barrier) as processes:
                found[index] = work(processes)
        except Exception as error:
            found[index] = error

    threads = [threading.Thread(target=one, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def launch(count: int, script: str, *arguments: Any, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in `count` real processes under torchrun, without the quantised extra.

    Its `sys.argv[1:]` are `arguments` as JSON.
    """
    file = folder / "launched.py"
    file.write_text(WITHOUT_QUANTISED + script)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), str(file)]
    return run_in(folder, [*command, *(json.dumps(one) for one in arguments)])


def run_in(folder: Path, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command that must end by itself within five minutes."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=290)
