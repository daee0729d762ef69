"""The time to a profile that is resolved, against a grid of 61 points by the script that a user would write with PEFT.

The script evaluates 61 even points one after the other; ours is the whole of `evaluate_path(tolerance=...)`: encoding,
the comparison of both ends with plain PEFT, and as many points as it wants. The truth is a grid of 121 points. Printed
are processor seconds of one thread, and how far each task's barrier is from the truth's.

    python analysis/benchmarks/resolved_profile.py [--data FOLDER]
    python analysis/benchmarks/resolved_profile.py --base-model BASE --start ADAPTER --end ADAPTER --tasks DIR DIR

Without checkpoints these are random adapters, and texts of mixed lengths, as in `path_evaluation.py`.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from path_evaluation import Case, cases, clock, usual_script

import modeconn as mc
from modeconn.evaluation import barrier

NUM_GRID, NUM_TRUE = 61, 121


class Found(NamedTuple):
    """What a way of measuring gives.

    Attributes:
        seconds: Its time.
        barriers: Each task's chord barrier, nats.
        num_points: How many were evaluated.
    """

    seconds: float
    barriers: np.ndarray
    num_points: int


def on_grid(t: np.ndarray, losses: np.ndarray, seconds: float) -> Found:
    """The barriers of mean losses `[T, M]` at positions `[T]`."""
    found = [barrier(t, one).height for one in losses.T]
    return Found(seconds, np.array(found), len(t))


def by_script(cases: Sequence[Case], ends: Sequence[Path], tokens: Sequence[int]) -> Found:
    """The grid of the script: summed losses over the scored tokens of each task."""
    t = np.linspace(0, 1, NUM_GRID)
    began = clock()
    scripts = [usual_script(one, ends) for one in cases]
    losses = [[usual(float(at)).sum() / count for at in t] for usual, count in zip(scripts, tokens, strict=True)]
    return on_grid(t, np.array(losses).T, clock() - began)


def by_us(line: mc.LinearPath, model: mc.AdapterModel, tasks: list[mc.Task], tolerance: float) -> Found:
    """The resolved profile."""
    began = clock()
    profile = mc.evaluate_path(line, model, tasks, tolerance=tolerance)
    seconds = clock() - began
    curves = [profile.curve(task.name) for task in tasks]
    dense = np.linspace(0, 1, 2001)
    losses = np.stack([curve(dense) for curve in curves], axis=1)
    return on_grid(dense, losses, seconds)._replace(num_points=profile.frame["t"].nunique())


def compare(cases: list[Case], ends: Sequence[Path], tasks: list[mc.Task], arguments: argparse.Namespace) -> None:
    """Print both ways of measuring tasks, each of which is a case of the script's."""
    line = mc.LinearPath(*(mc.Adapter.from_pretrained(one) for one in ends), space="factors")  # as the script
    model = mc.AdapterModel.from_pretrained(cases[0].base, adapters=line.points, labels=cases[0].labels)
    true = mc.evaluate_path(line, model, tasks, num_points=NUM_TRUE, check=False)
    losses = np.stack([true.frame.query("task == @one.name")["loss"].to_numpy() for one in tasks], axis=1)
    truth = on_grid(np.linspace(0, 1, NUM_TRUE), losses, 0.0)
    tokens = true.frame.query("t == 0").set_index("task")["num_tokens"].loc[[one.name for one in tasks]].tolist()
    ratios = []
    for _ in range(arguments.repeats):
        script, ours = by_script(cases, ends, tokens), by_us(line, model, tasks, arguments.tolerance)
        ratios.append(script.seconds / ours.seconds)
        for name, one in (("script", script), ("ours", ours)):
            away = np.abs(one.barriers - truth.barriers) / np.ptp(losses, axis=0)
            print(
                f"  {name:6s} {one.num_points:3d} points {one.seconds:7.1f} s  barriers {one.barriers.round(4)},"
                f" off by {(100 * away).round(4)} % of the loss's range",
                flush=True,
            )
    print(
        f"{cases[0].name}: {statistics.median(ratios):.1f} times ({min(ratios):.1f} to {max(ratios):.1f})", flush=True
    )


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MODECONN_DATA") or None)
    parser.add_argument("--base-model", type=Path)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--end", type=Path)
    parser.add_argument("--tasks", type=Path, nargs="+", default=[])
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--tolerance", type=float, default=0.0025)
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.base_model:
        tasks = [mc.Task.load(one) for one in arguments.tasks]
        tasks = [replace(one, splits={"test": one.split("test")[: arguments.examples]}) for one in tasks]
        labels = mc.Adapter.from_pretrained(arguments.start).provenance.get("labels")
        own = tuple(labels) if labels else None
        found = [Case(one.name, arguments.base_model, one.split("test"), own) for one in tasks]
        compare(found, [arguments.start, arguments.end], tasks, arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(arguments.data, Path(folder) / "base", arguments.examples):
            if "mixed" in case.name and "8x512" not in case.name:
                task = mc.Task(case.name, {"test": case.examples}, labels=case.labels)
                compare([case], case.adapters(Path(folder) / case.name.split()[0]), [task], arguments)


if __name__ == "__main__":
    main()
