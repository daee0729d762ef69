"""Continual-learning methods side by side: the same tasks, seeds and orders for each, one score matrix a run.

    python analysis/ilora/study.py --base-model data/base --tasks data/tasks --output-dir runs/ilora

A run that is finished is not made again, an interrupted one goes on, and the tables hold what is finished: the script
may be stopped and started at any time. It writes `scores.csv` (every run's score matrix) and `measures.csv` (what
`ScoreMatrix.summary()` says of each run) into the output folder.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import modeconn as mc
from modeconn.continual import ScoreMatrix

ORDERS = {
    "forward": ("stance", "tone", "summary", "science", "arithmetic", "simplification", "medicine", "law"),
    "backward": ("law", "medicine", "simplification", "arithmetic", "science", "summary", "tone", "stance"),
}
BUFFER = {"buffer_size": 200}
METHODS: dict[str, dict[str, Any]] = {  # in the order in which they are run: those of the first question come first
    "sequential": {},
    "replay": BUFFER,
    "ilora": BUFFER | {"decay": 0.99},
    "ema": {"decay": 0.99},
    "path-merge": {},
    "multi-task": {},
    "per-task": {},
    "der++": BUFFER,
    "a-gem": BUFFER,
    "ewc": {},
    "lwf": {},
    "o-lora": {},
    "soup": {},
    "online-ewc": {},
    "gem": BUFFER,
    "mc-sgd": {},
    "progressive-prompts": {},
}
SETTINGS: dict[str, Any] = {"rank": 8, "learning_rate": (3e-3,), "num_train_epochs": (4,)}


@dataclass(frozen=True)
class Cell:
    """One run of the study."""

    order: str
    seed: int
    method: str

    @property
    def folder(self) -> str:
        """The name of its run folder."""
        return f"{self.order}-{self.seed}-{self.method}"


def cells(methods: list[str], seeds: int, orders: list[str]) -> Iterator[Cell]:
    """All runs: every method with one seed and order before the next seed."""
    for order, seed, method in product(orders, range(seeds), methods):
        yield Cell(order, seed, method)


def trained(cell: Cell, base_model: str, tasks: dict[str, mc.Task], folder: Path) -> pd.DataFrame:
    """The score matrix of a run as a table, with the order beside it."""
    run = mc.train(
        folder / cell.folder,
        base_model,
        [tasks[name] for name in ORDERS[cell.order]],
        seed=cell.seed,
        method=cell.method,
        method_options=METHODS[cell.method],
        **SETTINGS,
    )
    return run.scores.assign(order=cell.order)


def measures(scores: pd.DataFrame) -> pd.DataFrame:
    """One row a run: average accuracy, forgetting and the rest."""
    keys = ["order", "method", "adapter", "seed"]
    rows = [
        dict(zip(keys, key, strict=True)) | ScoreMatrix.from_frame(run).summary()  # type: ignore[arg-type]
        for key, run in scores.groupby(keys, sort=False)
    ]
    return pd.DataFrame(rows)


def main() -> None:
    """Make every run that is missing, and the tables of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-model", required=True)
    parser.add_argument("--tasks", type=Path, required=True, help="folder with a folder for every task")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--orders", nargs="+", choices=ORDERS, default=list(ORDERS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tasks = {name: mc.Task.load(arguments.tasks / name) for name in ORDERS["forward"]}
    tables: list[pd.DataFrame] = []
    for cell in cells(arguments.methods, arguments.seeds, arguments.orders):
        tables.append(trained(cell, arguments.base_model, tasks, arguments.output_dir))
        scores = pd.concat(tables, ignore_index=True)
        scores.to_csv(arguments.output_dir / "scores.csv", index=False)
        measures(scores).to_csv(arguments.output_dir / "measures.csv", index=False)
        last = measures(tables[-1]).iloc[0]
        print(f"{cell.folder:32s} ACC {last['average_accuracy']:.3f}  forgetting {last['forgetting']:+.3f}", flush=True)


if __name__ == "__main__":
    main()
