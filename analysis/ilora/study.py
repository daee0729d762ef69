"""Continual-learning methods side by side: the same tasks, seeds and orders for each, one score matrix a run.

    python -m analysis.ilora.study --base-model data/base --tasks data/tasks --output-dir runs/ilora

Two tables grow run by run: `scores.csv` (every run's score matrix) and `pairs.csv` (what lies between consecutive
checkpoints, see `analysis/pairs.py`). A run that stands in the first is not made again, an interrupted one goes on: the
script may be stopped and started at any time, also elsewhere with the tables of before. `summary.py` reads them.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import modeconn as mc
from analysis.pairs import pair_rows
from analysis.tables import append, finished
from modeconn.continual import ScoreMatrix

ORDERS = {
    "forward": ("stance", "tone", "summary", "science", "arithmetic", "simplification", "medicine", "law"),
    "backward": ("law", "medicine", "simplification", "arithmetic", "science", "summary", "tone", "stance"),
}
BUFFER = {"buffer_size": 200}
METHODS: dict[str, dict[str, Any]] = {  # name -> settings; before the dot stands the method, after it a variant
    "sequential": {},
    "replay": BUFFER,
    "ilora": BUFFER,
    "ema": {},
    "path-merge": {},
    "ilora.decay-0.95": BUFFER | {"decay": 0.95},
    "ilora.decay-0.995": BUFFER | {"decay": 0.995},
    "ilora.consistency-0": BUFFER | {"consistency_weight": 0.0},
    "ilora.consistency-0.1": BUFFER | {"consistency_weight": 0.1},
    "ilora.weights": BUFFER | {"average": "weights"},
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
    "l2p": {},
}
SETTINGS: dict[str, Any] = {"rank": 8, "learning_rate": (3e-3,), "num_train_epochs": (4,)}
PROMPTS: dict[str, dict[str, Any]] = {  # methods that train prompts, which have no rank
    "progressive-prompts": {"adapter": "prompt-tuning", "rank": None},
    "l2p": {"adapter": "l2p", "rank": None},
}


KEYS = ["order", "seed", "variant"]


@dataclass(frozen=True)
class Cell:
    """One run of the study."""

    order: str
    seed: int
    variant: str

    @property
    def keys(self) -> dict[str, Any]:
        """What names the run in the tables."""
        return dict(zip(KEYS, (self.order, self.seed, self.variant), strict=True))

    @property
    def folder(self) -> str:
        """The name of its run folder."""
        return f"{self.order}-{self.seed}-{self.variant}"


def cells(variants: list[str], seeds: int, orders: list[str]) -> Iterator[Cell]:
    """All runs: every variant with one seed and order before the next."""
    for seed, order, variant in product(range(seeds), orders, variants):
        yield Cell(order, seed, variant)


def train(cell: Cell, base_model: str, tasks: Mapping[str, mc.Task], folder: Path) -> mc.TrainRun:
    """A run of the study."""
    return mc.train(
        folder / cell.folder,
        base_model,
        [tasks[name] for name in ORDERS[cell.order]],
        seed=cell.seed,
        method=cell.variant.partition(".")[0],
        method_options=METHODS[cell.variant],
        **SETTINGS | PROMPTS.get(cell.variant, {}),
    )


def main() -> None:
    """Make every run that is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-model", required=True)
    parser.add_argument("--tasks", type=Path, required=True, help="folder with a folder for every task")
    parser.add_argument("--output-dir", type=Path, required=True, help="of the runs: checkpoints, states")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results", help="of the tables")
    parser.add_argument("--variants", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--orders", nargs="+", choices=ORDERS, default=list(ORDERS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.results.mkdir(parents=True, exist_ok=True)
    tasks = {name: mc.Task.load(arguments.tasks / name) for name in ORDERS["forward"]}
    scores, pairs = arguments.results / "scores.csv", arguments.results / "pairs.csv"
    for cell in cells(arguments.variants, arguments.seeds, arguments.orders):
        if tuple(cell.keys.values()) in finished(scores, KEYS):
            continue
        run = train(cell, arguments.base_model, tasks, arguments.output_dir)
        between = pair_rows(run, [tasks[name] for name in ORDERS[cell.order]], arguments.base_model)
        append(pd.DataFrame([cell.keys | row for row in between]), pairs)
        rows = run.scores[["after_task", "task", "metric", "score"]].assign(**cell.keys)
        append(rows[[*KEYS, "after_task", "task", "metric", "score"]], scores)
        found = ScoreMatrix.from_frame(run.scores).summary()
        print(
            f"{cell.folder:40s} ACC {found['average_accuracy']:.3f}  forgetting {found['forgetting']:+.3f}", flush=True
        )


if __name__ == "__main__":
    main()
