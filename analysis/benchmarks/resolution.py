"""Does a resolved profile hold what it says, and what does it cost beside an even grid?

Made-up profiles of eight kinds with random places, widths and slopes first: how many are called resolved, how many of
these wrongly, by the largest difference on 2,001 positions; and bumps of seven widths at 95 places each. Then, if
checkpoints are given, the line between two of them: resolved, and evaluated on an even grid on which the resolved curve
is tested.

    python analysis/benchmarks/resolution.py
    python analysis/benchmarks/resolution.py --base-model BASE --start ADAPTER --end ADAPTER --tasks DIR...
"""

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

import modeconn as mc
from modeconn.evaluation.resolve import Target, resolve

DENSE = np.linspace(0, 1, 2001)
Function = Callable[[np.ndarray], np.ndarray]


def made_up(seed: int) -> Iterator[tuple[str, Function]]:
    """Profiles of eight kinds: positions `[T]` -> losses `[T]`."""
    draw = np.random.default_rng(seed)
    place, width = draw.uniform(0.05, 0.95), 1 / np.exp(draw.uniform(np.log(2), np.log(30)))
    yield "step", lambda t: np.tanh((t - place) / width) + 0.2 * np.sin(3 * t + place)
    yield "bump", lambda t: np.exp(-(((t - place) / (2 * width)) ** 2))
    yield "Runge", lambda t: 1 / (1 + ((t - place) / width) ** 2)
    pole = 1 + np.exp(draw.uniform(np.log(0.02), np.log(0.5)))
    yield "steep end", lambda t: 1 / (pole - t)
    frequency = draw.uniform(0.5, 4)
    yield "wave", lambda t: np.sin(2 * np.pi * frequency * t + 6 * place)
    offsets, slopes = draw.normal(size=100) * 8, draw.normal(size=100) * draw.uniform(10, 30)
    yield "two classes", lambda t: np.logaddexp(0, offsets + slopes * (t[:, None] - 0.5)).mean(1)
    terms = draw.normal(size=(3, 60, 4)) * 5
    yield "four classes", lambda t: cross_entropy(terms, t)
    yield "kink", lambda t: np.abs(t - place)


def resolve_bumps(tolerance: float) -> None:
    """Print one row a width: Gaussian bumps on a slow wave, at 95 places."""
    print(f"\nbumps at 95 places, tolerance {tolerance:g} of the range")
    print("| width (standard deviation) | resolved | of these wrongly | positions, mean |\n|---|---|---|---|")
    for width in (0.05, 0.03, 0.02, 0.015, 0.01, 0.0075, 0.005):
        wrong, resolved, counts = 0, 0, []
        for place in np.linspace(0.03, 0.97, 95):
            bump = lambda t, at=place, w=width: np.exp(-(((t - at) / w) ** 2) / 2) + 0.2 * np.sin(3 * t)  # noqa: E731
            found = resolve(lambda t, f=bump: dict(zip(t, f(np.array(t))[:, None], strict=True)), Target(tolerance))
            away = np.abs(found.curves[0](DENSE) - bump(DENSE)).max()
            resolved += found.resolved[0]
            wrong += found.resolved[0] and away > found.tolerance[0]
            counts.append(found.num_evaluations)
        print(f"| {width:g} | {resolved} | {wrong} | {np.mean(counts):.1f} |", flush=True)


def cross_entropy(terms: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The mean over examples of the first class's negative log-likelihood, its logits quadratic in t, `[T] -> [T]`."""
    logits = sum(term * t[:, None, None] ** power for power, term in enumerate(terms))  # [T, N, C]
    return (np.logaddexp.reduce(logits, axis=-1) - logits[..., 0]).mean(1)


def resolve_made_up(tolerance: float, repeats: int) -> None:
    """Print one row a kind."""
    print(f"\nmade-up profiles, tolerance {tolerance:g} of the range, {repeats} a kind")
    print("| kind | resolved | of these wrongly | worst error / tolerance | positions, mean |\n|---|---|---|---|---|")
    for kind, _ in made_up(0):
        errors, resolved, counts = [], [], []
        for seed in range(repeats):
            function = dict(made_up(seed))[kind]
            found = resolve(lambda t, f=function: dict(zip(t, f(np.array(t))[:, None], strict=True)), Target(tolerance))
            errors.append(np.abs(found.curves[0](DENSE) - function(DENSE)).max() / found.tolerance[0])
            resolved.append(found.resolved[0])
            counts.append(found.num_evaluations)
        own = np.array(errors)[resolved]
        print(f"| {kind} | {len(own)} | {(own > 1).sum()} | {own.max(initial=0):.2f} | {np.mean(counts):.1f} |")


def few(task: mc.Task, number: int) -> mc.Task:
    """Some examples of a task's test split, drawn once."""
    examples = task.split("test")
    chosen = np.random.default_rng(0).choice(len(examples), min(number, len(examples)), replace=False)
    return mc.Task(task.name, {"test": tuple(examples[i] for i in sorted(chosen))}, labels=task.labels)


def compare_on_a_line(options: argparse.Namespace) -> None:
    """Print, task by task, the resolved profile beside an even grid."""
    ends = [mc.Adapter.from_pretrained(folder) for folder in (options.start, options.end)]
    model = mc.AdapterModel.from_pretrained(options.base_model, adapters=ends)
    tasks = [few(mc.Task.load(folder), options.num_examples) for folder in options.tasks]
    line = mc.LinearPath(*ends)
    began = time.perf_counter()
    profile = mc.evaluate_path(line, model, tasks, tolerance=options.tolerance)
    middle = time.perf_counter()
    print(f"\n{line.name}, {options.num_examples} examples a task; {middle - began:.0f} s to resolve")
    print(profile.resolution.to_string(index=False), flush=True)
    even = mc.evaluate_path(line, model, tasks, num_points=options.num_points, check=False)
    print(f"\n{options.num_points} even positions: {time.perf_counter() - middle:.0f} s")
    for task in tasks:
        own = even.frame[even.frame["task"] == task.name]
        t, loss = own["t"].to_numpy(), own["loss"].to_numpy()
        curve = profile.curve(task.name)
        away, highest, grid_mean = np.abs(curve(t) - loss).max(), curve.maximum(), mc.barrier(t, loss, baseline="mean")
        print(f"{task.name}: the curve is off by at most {away:.2e} nats on the grid")
        print(
            f"  maximum {highest.value:.4f} at {highest.t:.4f}; on the grid {loss.max():.4f} at {t[loss.argmax()]:.4f}"
        )
        print(f"  barrier (mean) {curve.barrier('mean').height:.4f}; on the grid {grid_mean.height:.4f}")
        between = [f"{n + 1}: {broken_line_error(t, loss, n):.2e}" for n in (16, 32, 64)]
        print("  straight lines through fewer even positions are off by, " + ", ".join(between))


def broken_line_error(t: np.ndarray, loss: np.ndarray, num_steps: int) -> float:
    """How far straight lines through every so-manieth value are from the values between, nats."""
    step = (len(t) - 1) // num_steps
    return float(np.abs(np.interp(t, t[::step], loss[::step]) - loss).max())


def main() -> None:
    """Read the arguments and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-model")
    parser.add_argument("--start", help="adapter folder at t = 0; without it only made-up profiles are resolved")
    parser.add_argument("--end", help="adapter folder at t = 1")
    parser.add_argument("--tasks", nargs="+", default=[], help="task folders")
    parser.add_argument("--num-examples", type=int, default=100)
    parser.add_argument("--num-points", type=int, default=129, help="of the even grid: one more than a multiple of 64")
    parser.add_argument("--tolerance", type=float, default=0.0025)
    parser.add_argument("--repeats", type=int, default=100, help="made-up profiles of each kind")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.repeats:
        resolve_made_up(options.tolerance, options.repeats)
        resolve_bumps(options.tolerance)
    if options.start:
        compare_on_a_line(options)


if __name__ == "__main__":
    main()
