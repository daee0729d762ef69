"""By what number should a fit choose among the curves that its validations saw?

Four numbers of a validation are compared: the worst position, the most that one lies above the chord of the ends, the
mean over t, and the mean plus what lies above the chord, which is the one in use. Each chooses among the same curves of
a fit; then all curves are measured on the test split, and it is printed how far the chosen one is behind the best.

    python analysis/benchmarks/choosing.py
    python analysis/benchmarks/choosing.py --base-model BASE --start ADAPTER --end ADAPTER --tasks DIR...

Without checkpoints: a noisy ring in the plane, from which none, one or both ends are far off.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

import modeconn as mc
from modeconn.fitting.bends import Bends
from modeconn.fitting.state import FitState

RULES: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "worst": lambda rows: rows["worst_loss"],
    "above chord": lambda rows: rows["above_chord"],
    "mean": lambda rows: rows["mean_loss"],
    "mean + barrier": lambda rows: rows["objective"],
}
ENDS = {"good ends": (-1.0, 1.0), "one bad end": (-3.0, 1.0), "bad ends": (-3.0, 3.0)}


class Place(nn.Module):
    """A point of the plane; every input gives the point itself."""

    def __init__(self, x: float = 0.0, y: float = 0.0) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.tensor([x, y]))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The point, once an input."""
        return self.place.expand(len(inputs), 2)


class Validations:
    """Keeps the bends of every validation of a fit."""

    def __init__(self) -> None:
        self.bends: dict[int, list[torch.Tensor]] = {}

    def load(self) -> FitState | None:
        """Nothing: a fit begins anew."""

    def save(self, state: FitState) -> None:
        """Keep the bends; a state is saved at validations only."""
        self.bends[state.validated_step] = [tensor.clone() for tensor in state.bends]


def compared(
    curve: mc.BezierCurve, model: Any, tasks: Sequence[Any], num_points: int, **settings: Any  # noqa: ANN401
) -> pd.DataFrame:  # fmt: skip
    """One row a validation: what it found, and barrier and mean on the test split, nats."""
    kept = Validations()
    history = mc.fit_curve(curve, model, tasks, store=kept, patience=10_000, **settings).history.set_index("step")
    bends, rows = Bends(curve.on(model), model.device), []
    for step, tensors in kept.bends.items():
        bends.load(tensors)
        frame = mc.evaluate_path(bends.curve(), model, tasks, num_points=num_points, check=False).frame
        loss = frame.groupby("t")["loss"].mean()
        t = loss.index.to_numpy()
        height = mc.barrier(t, loss.to_numpy()).height
        rows.append({"step": step, "barrier": height, "mean": float(np.trapezoid(loss.to_numpy(), t))})
    return history.loc[list(kept.bends)].join(pd.DataFrame(rows).set_index("step"))


def behind_the_best(found: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Rule -> how far barrier and mean of its curve are above the lowest of all curves, nats."""
    chosen = {name: found.loc[rule(found).idxmin()] for name, rule in RULES.items()}
    lowest = found[["barrier", "mean"]].min()
    return {name: tuple((row[["barrier", "mean"]] - lowest).astype(float)) for name, row in chosen.items()}


def ring_task() -> mc.TensorTask:
    """Numbers by which examples move the middle of the ring."""
    sizes = {"train": 64, "eval": 32, "test": 512}
    draws = {name: torch.randn(n, generator=torch.Generator().manual_seed(n)) for name, n in sizes.items()}
    return mc.TensorTask("ring", {name: (torch.zeros(len(one), 1), one) for name, one in draws.items()}, metric="none")


def on_the_ring(repeats: int) -> None:
    """Print one row for each kind of ends and rule."""
    model = mc.ModuleModel(
        Place(),
        lambda outputs, moved: ((outputs - 0.15 * moved[:, None]).norm(dim=1) - 1) ** 2,
        score=lambda outputs, _: torch.zeros(len(outputs)),
    )
    settings: dict[str, Any] = {"num_steps": 60, "eval_steps": 5, "learning_rate": 0.25, "schedule": "constant"}
    settings["per_device_train_batch_size"] = 4
    print("| ends | chosen by | barrier behind the best | mean behind the best |\n|---|---|---|---|")
    for name, (left, right) in ENDS.items():
        ends_and_bend = [mc.module_point(Place(*at)) for at in ((left, 0.0), (0.0, 0.3), (right, 0.0))]
        curve = mc.BezierCurve(ends_and_bend)
        fits = [compared(curve, model, [ring_task()], 41, seed=seed, **settings) for seed in range(repeats)]
        found = [behind_the_best(fit) for fit in fits]
        for rule in RULES:
            barrier, mean = np.mean([one[rule] for one in found], axis=0)
            print(f"| {name} | {rule} | {barrier:.4f} | {mean:.4f} |", flush=True)


def between_checkpoints(options: argparse.Namespace) -> None:
    """Print every validation of one fit between two checkpoints, and what each rule chose."""
    ends = [mc.Adapter.from_pretrained(folder) for folder in (options.start, options.end)]
    model = mc.AdapterModel.from_pretrained(options.base_model, adapters=ends)
    tasks = [mc.Task.load(folder) for folder in options.tasks]
    every = max(1, options.num_steps // 8)
    settings: dict[str, Any] = {"num_steps": options.num_steps, "eval_steps": every, "learning_rate": 3e-3}
    found = compared(mc.BezierCurve.between(*ends), model, tasks, 13, **settings)
    print(found[["worst_loss", "above_chord", "mean_loss", "objective", "barrier", "mean"]].round(4).to_string())
    for name, rule in RULES.items():
        print(f"{name}: step {rule(found).idxmin()}")


def main() -> None:
    """Read the arguments and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-model")
    parser.add_argument("--start", help="adapter folder at t = 0; without it only the ring is fitted")
    parser.add_argument("--end", help="adapter folder at t = 1")
    parser.add_argument("--tasks", nargs="+", default=[], help="task folders")
    parser.add_argument("--num-steps", type=int, default=160)
    parser.add_argument("--repeats", type=int, default=8, help="fits for each kind of ends")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.repeats:
        on_the_ring(options.repeats)
    if options.start:
        between_checkpoints(options)


if __name__ == "__main__":
    main()
