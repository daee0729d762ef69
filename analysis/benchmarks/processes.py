"""Two processes of one thread each against one, and what another point and another task cost.

One thread a process throughout, float32, the embedded base with two random adapters and the embedded tasks. Each round
measures every case once, in turn; the table has the medians over the rounds and their range. The time is that of
the points alone, told by the progress of the evaluation: neither loading nor checks nor figures. Beside the time on the
clock stands that of the processor, of the main process: on a busy machine it says what the clock would on an idle one.

    python analysis/benchmarks/processes.py [--rounds 3] [--examples 100] [--points 5 21 101]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

import modeconn as mc
from modeconn.evaluation.store import RunPointStore
from modeconn.runs import RunFolder
from modeconn.runs.processes import Processes, launched

EMBEDDED = Path(str(files("modeconn.embedded")))
TASKS = ("stance", "tone", "science", "law")
POINTS = (5, 21, 101)


def ends(folder: Path) -> list[mc.Adapter]:
    """Two random adapters of the embedded base."""
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        plain = AutoModelForCausalLM.from_pretrained(EMBEDDED / "base", dtype=torch.float32)
        config = LoraConfig(r=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
        get_peft_model(plain, config).save_pretrained(str(folder / str(seed)))
        found.append(mc.Adapter.from_pretrained(folder / str(seed)))
    return found


def tasks(count: int, examples: int) -> list[mc.Task]:
    """Embedded tasks, the first examples of each."""
    loaded = [mc.Task.load(EMBEDDED / "tasks" / name) for name in TASKS[:count]]
    return [replace(task, splits={"test": task.split("test")[:examples]}) for task in loaded]


def seconds(
    line: mc.LinearPath, chosen: Sequence[mc.Task], num_points: int, processes: Processes
) -> tuple[float, float]:
    """The time of all points of an evaluation, on the clock and of the processor."""
    model = mc.AdapterModel.from_pretrained(EMBEDDED / "base", adapters=line.points)
    told = []
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder.open(folder, command="benchmark", settings={}, processes=processes)
        with run:
            mc.evaluate_path(
                line, model, chosen, num_points=num_points, check=False, store=RunPointStore(run),
                progress=lambda *_: told.append((time.perf_counter(), time.process_time())),
            )  # fmt: skip
    return told[-1][0] - told[0][0], told[-1][1] - told[0][1]


def measured(arguments: argparse.Namespace, processes: Processes) -> None:
    """Print the seconds of one case, of which `--case` says the tasks and points."""
    count, num_points = arguments.case
    with tempfile.TemporaryDirectory() as folder:
        line = mc.LinearPath(*ends(Path(folder)))
        found = seconds(line, tasks(count, arguments.examples), num_points, processes)
    processes.part()
    if processes.is_main:
        print("seconds", *found)


def case(arguments: argparse.Namespace, count: int, num_points: int, num_processes: int) -> np.ndarray:
    """The seconds of one case on the clock and of the processor, `[2]`, in processes of its own."""
    own = [__file__, "--examples", str(arguments.examples), "--case", str(count), str(num_points)]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes), "--"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, *(launcher if num_processes > 1 else []), *own]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return np.array(next(line.split()[1:] for line in done.stdout.splitlines() if line.startswith("seconds ")), float)


def shown(values: Sequence[np.ndarray], digits: int) -> str:
    """The medians and ranges of pairs, `[rounds, 2]`, on the clock and of the processor."""
    return "; ".join(
        f"{name} {statistics.median(own):.{digits}f} ({min(own):.{digits}f} to {max(own):.{digits}f})"
        for name, own in zip(("clock", "processor"), np.array(values).T, strict=True)
    )


def main() -> None:
    """Measure one case where one is named, else all of them in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=100, help="of every task")
    parser.add_argument("--points", type=int, nargs="+", default=POINTS)
    parser.add_argument("--case", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.case:
        measured(arguments, Processes.joined() if launched() else Processes())
        return
    cases = [(2, 21, 1), (2, 21, 2)]
    cases += [(1, points, 1) for points in {5, *arguments.points}] + [(count, 5, 1) for count in (2, 3, 4)]
    times: dict[tuple[int, int, int], list[np.ndarray]] = {one: [] for one in cases}
    for _ in range(arguments.rounds):
        for one in cases:
            times[one].append(case(arguments, *one))
    ratios = [one / two for one, two in zip(times[2, 21, 1], times[2, 21, 2], strict=True)]
    print(f"torch {torch.__version__}, float32, {os.cpu_count()} cores, rounds: {arguments.rounds}")
    print(f"one process over two, 2 tasks, 21 points: {shown(ratios, 2)}")
    for points in arguments.points:
        print(f"{points:4d} points, 1 task, s a point: {shown([t / points for t in times[1, points, 1]], 4)}")
    for count in (1, 2, 3, 4):
        print(f"{count:4d} tasks, 5 points, s a point: {shown([t / 5 for t in times[count, 5, 1]], 4)}")


if __name__ == "__main__":
    main()
