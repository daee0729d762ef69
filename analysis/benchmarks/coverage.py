"""How often the 95 % interval of a barrier holds the true barrier, beside the percentile bootstrap's.

Examples are simulated whose mean loss is known: a bump `h 4 t (1 - t)` on the chord, so that the true barrier is h, and
noise that differs from example to example, smooth along the path or independent at every position, with normal,
lognormal or Student's t (3 degrees) tails. "lognormal 2" (sigma 2: one example in a thousand is 600 times the median)
is there to see where it ends. Answers have 1 to 8 tokens, so that the mean loss is a ratio. "0/1" are scores.

    python analysis/benchmarks/coverage.py [--replications 500] [--num-resamples 500] [--parts losses average ...]

A cell outside of 93 to 98 % is marked. The last tables: the path average, the convexity gap, evaluating to a precision,
and several runs.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from modeconn.evaluation.bands import resampled_above
from modeconn.evaluation.barrier_interval import BarrierInterval, barrier_interval, interval_of_maximum
from modeconn.evaluation.definitions import convexity_gap
from modeconn.evaluation.paired import above_baseline
from modeconn.evaluation.runs_interval import barrier_interval_over_runs
from modeconn.evaluation.stopping import confidence_of_a_look, look_sizes

T = np.linspace(0, 1, 21)
BUMP = 4 * T * (1 - T)
HEIGHTS = (0.0, 0.1, 1.0)  # with noise of about 1 nat an example
RISES = (0.0, 0.02, 0.3)  # of the error
TAILS = ("normal", "lognormal", "t3", "lognormal 2")
KINDS = ("smooth", "rough")
ROUNDING = 1e-12


@dataclass
class Tally:
    """What became of the intervals of one cell."""

    too_high: int = 0  # the whole interval lies above the true barrier
    too_low: int = 0
    percentile: int | None = None  # not measured everywhere
    rejected: int = 0
    warned: int = 0
    count: int = 0

    def add(self, found: BarrierInterval, true: float, percentile: tuple[float, float] | None = None) -> None:
        """Count one replication."""
        self.count += 1
        self.too_high += found.low > true + ROUNDING
        self.too_low += found.high < true - ROUNDING
        if percentile:
            self.percentile = (self.percentile or 0) + (percentile[0] - ROUNDING <= true <= percentile[1] + ROUNDING)
        self.rejected += found.p_value < 0.05
        self.warned += found.doubtful

    def row(self) -> str:
        """Coverage, its misses, the percentile bootstrap's coverage, rejections of "no barrier", warnings."""
        share = lambda number: number / self.count  # noqa: E731
        covered = 1 - share(self.too_high + self.too_low)
        usual = "-" if self.percentile is None else f"{share(self.percentile):.3f}"
        mark = " " if 0.93 <= covered <= 0.98 else "-" if covered < 0.93 else "+"
        return (
            f"{covered:8.3f}{mark}{share(self.too_high):8.3f}{share(self.too_low):8.3f}"
            f"{usual:>12s}{share(self.rejected):10.3f}{share(self.warned):8.2f}"
        )


def drawn(rng: np.random.Generator, shape: tuple[int, ...], tail: str) -> np.ndarray:
    """Independent numbers of mean 0 and standard deviation 1."""
    if tail.startswith("lognormal"):
        sigma = 2.0 if tail.endswith("2") else 1.0
        mean = np.exp(sigma**2 / 2)
        return (np.exp(sigma * rng.normal(size=shape)) - mean) / (mean * np.sqrt(np.exp(sigma**2) - 1))
    return rng.normal(size=shape) if tail == "normal" else rng.standard_t(3, size=shape) / np.sqrt(3)


def noise(rng: np.random.Generator, count: int, tail: str, kind: str, t: np.ndarray = T) -> np.ndarray:
    """What examples have around the mean profile, `[N, T]`."""
    if kind == "rough":
        return drawn(rng, (count, len(t)), tail) + drawn(rng, (count, 1), tail)
    waves = [size * drawn(rng, (count, 1), tail) * np.sin(k * np.pi * t) for k, size in ((1, 1.0), (2, 0.5), (3, 0.3))]
    return sum(waves) + drawn(rng, (count, 1), tail)


def percentile_intervals(
    rng: np.random.Generator, sums: np.ndarray, tokens: np.ndarray, heights: tuple[float, ...], num_resamples: int
) -> list[tuple[float, float]]:
    """The usual interval: quantiles of the barriers of resampled examples."""
    above = above_baseline(T, sums, "chord")
    chosen = rng.integers(len(sums), size=(num_resamples, len(sums)))
    counts = np.stack([np.bincount(one, minlength=len(sums)) for one in chosen]).astype(float)
    means = (counts @ above) / (counts @ tokens)[:, None]
    tops = [(means + height * BUMP).max(axis=1) for height in heights]
    return [tuple(np.quantile(top, (0.025, 0.975)).tolist()) for top in tops]


def losses_cell(
    kind: str, tail: str, count: int, replications: int, num_resamples: int
) -> Iterator[tuple[float, Tally]]:
    """Tallies of one kind of loss for every height.

    A bump adds the same to every example, so that one resampling serves all heights.
    """
    tallies = {height: Tally() for height in HEIGHTS}
    rng = np.random.default_rng([count, TAILS.index(tail), KINDS.index(kind)])
    for seed in range(replications):
        tokens = rng.integers(1, 9, size=count).astype(float)
        sums = (2 - T + noise(rng, count, tail, kind)) * tokens[:, None]
        sample = resampled_above(T, sums, tokens, baseline="chord", num_resamples=num_resamples, seed=seed)
        usual = percentile_intervals(rng, sums, tokens, HEIGHTS, num_resamples)
        for (height, tally), percentile in zip(tallies.items(), usual, strict=True):
            raised = replace(sample, value=sample.value + height * BUMP)
            found = interval_of_maximum(T, raised, confidence=0.95, num_examples=count, seed=seed)
            tally.add(found, height, percentile)
    yield from tallies.items()


def scores_cell(kind: str, count: int, replications: int, num_resamples: int) -> Iterator[tuple[float, Tally]]:
    """Tallies of errors of 0 and 1; smooth: an example changes once as the mean rises, and back as it falls."""
    rng = np.random.default_rng([count, KINDS.index(kind)])
    for rise in RISES:
        tally = Tally()
        for seed in range(replications):
            chance = rng.random((count, 1 if kind == "smooth" else len(T)))
            errors = (chance < 0.2 - 0.1 * T + rise * BUMP).astype(float)
            found = barrier_interval(T, errors, np.ones(count), num_resamples=num_resamples, seed=seed)
            (percentile,) = percentile_intervals(rng, errors, np.ones(count), (0.0,), num_resamples)
            tally.add(found, rise, percentile)
        yield rise, tally


def average_cell(kind: str, tail: str, count: int, replications: int, num_resamples: int) -> Tally:
    """Tally of path averages above the chord; a bump would add the same to every example, and change nothing."""
    tally, rng = Tally(), np.random.default_rng([count, TAILS.index(tail), KINDS.index(kind), 1])
    for seed in range(replications):
        tokens = rng.integers(1, 9, size=count).astype(float)
        sums = (2 - T + noise(rng, count, tail, kind)) * tokens[:, None]
        tally.add(barrier_interval(T, sums, tokens, baseline="average", num_resamples=num_resamples, seed=seed), 0.0)
    return tally


def gap_cell(kind: str, num_positions: int, replications: int, num_resamples: int) -> Iterator[tuple[float, Tally]]:
    """Tallies of convexity gaps: none, and 1 nat between two valleys; of 200 normal examples.

    Of more than 41 positions the interval takes 41, and the measured gap's own for its high end.
    """
    t = np.linspace(0, 1, num_positions)
    for height in (0.0, 1.0):
        tally, rng = Tally(), np.random.default_rng([num_positions, KINDS.index(kind), int(height)])
        mean = height * (1 + np.cos(4 * np.pi * t + 0.6)) / 2 + 2 - t  # its top and valleys are at no special position
        true = convexity_gap(t, mean).height
        for seed in range(replications):
            sums = mean + noise(rng, 200, "normal", kind, t)
            found = barrier_interval(
                t, sums, np.ones(200), baseline="convexity", num_resamples=num_resamples, seed=seed
            )
            tally.add(found, true)
        yield true, tally


def to_precision(kind: str, tail: str, height: float, replications: int, num_resamples: int) -> tuple[Tally, float]:
    """Tally of samples that grow until half the width is 0.1 nats, and the median of their sizes."""
    sizes, tally, used = look_sizes(5000, 100), Tally(), []
    confidence = confidence_of_a_look(0.95, len(sizes))
    rng = np.random.default_rng([TAILS.index(tail), KINDS.index(kind), int(10 * height)])
    for seed in range(replications):
        sums = 2 - T + height * BUMP + noise(rng, sizes[-1], tail, kind)
        for size in sizes:
            found = barrier_interval(
                T, sums[:size], np.ones(size), confidence=confidence, seed=seed,
                num_resamples=num_resamples * len(sizes),
            )  # fmt: skip
            if found.half_width <= 0.1 and not found.doubtful:
                break
        used.append(found.num_examples)
        tally.add(found, height)
    return tally, float(np.median(used))


def over_runs(kind: str, num_runs: int, height: float, replications: int, num_resamples: int) -> Tally:
    """Tally of several runs on 200 examples; runs differ by 0.15 nats, and in what they do to single examples."""
    tally = Tally()
    rng = np.random.default_rng([num_runs, KINDS.index(kind), int(10 * height)])
    for seed in range(replications):
        common = noise(rng, 200, "normal", kind)
        own = 0.5 * np.stack([noise(rng, 200, "normal", kind) for _ in range(num_runs)])
        shifts = 0.15 * noise(rng, num_runs, "normal", "smooth")[:, None]
        sums = 2 - T + height * BUMP + common + own + shifts
        found = barrier_interval_over_runs(T, sums, np.ones(200), num_resamples=num_resamples, seed=seed)
        tally.add(found, height)
    return tally


def print_losses(replications: int, num_resamples: int) -> None:
    """The barriers of losses, half as often at 5,000 examples."""
    for tail in TAILS:
        for kind in KINDS:
            for count in (50, 200, 1000, 5000)[: 3 if tail == TAILS[-1] else 4]:
                few = replications // 2 if count == 5000 else replications
                for height, tally in losses_cell(kind, tail, count, few, num_resamples):
                    print(f"{tail:12s} {kind:7s} N = {count:<6d}{height:6.2f}{tally.row()}", flush=True)


def print_scores(replications: int, num_resamples: int) -> None:
    """The barriers of errors."""
    for kind in KINDS:
        for count in (50, 200, 1000):
            for height, tally in scores_cell(kind, count, replications, num_resamples):
                print(f"{'0/1':12s} {kind:7s} N = {count:<6d}{height:6.2f}{tally.row()}", flush=True)


def print_averages(replications: int, num_resamples: int) -> None:
    """The path averages."""
    print("\npath average above the chord")
    for tail in TAILS:
        for kind in KINDS:
            for count in (50, 200, 1000):
                tally = average_cell(kind, tail, count, replications, num_resamples)
                print(f"{tail:12s} {kind:7s} N = {count:<6d}{0:6.2f}{tally.row()}", flush=True)


def print_gaps(replications: int, num_resamples: int) -> None:
    """The convexity gaps, with a fifth of the replications."""
    few = max(1, replications // 5), max(100, num_resamples // 2)
    print(f"\nconvexity gap, 200 examples, {few[0]} replications")
    for kind in KINDS:
        for num_positions in (21, 61):
            for height, tally in gap_cell(kind, num_positions, *few):
                print(f"T = {num_positions:<7d} {kind:7s}           {height:6.2f}{tally.row()}", flush=True)


def print_precision(replications: int, num_resamples: int) -> None:
    """Evaluating to a precision, with a fifth of the replications."""
    few = max(1, replications // 5), max(100, num_resamples // 2)
    print(f"\nto 0.1 nats of half-width, at most 5000 examples, {few[0]} replications: median number of examples")
    for tail in ("normal", "lognormal"):
        for height in HEIGHTS:
            tally, used = to_precision("smooth", tail, height, *few)
            print(f"{tail:12s} smooth  used {used:<6.0f}{height:6.2f}{tally.row()}", flush=True)


def print_runs(replications: int, num_resamples: int) -> None:
    """Several runs."""
    print("\nseveral runs on 200 examples")
    for num_runs in (3, 5):
        for kind in KINDS:
            for height in HEIGHTS:
                tally = over_runs(kind, num_runs, height, replications, num_resamples)
                print(f"{num_runs} runs       {kind:7s}           {height:6.2f}{tally.row()}", flush=True)


PARTS = {
    "losses": print_losses, "scores": print_scores, "average": print_averages, "gap": print_gaps,
    "precision": print_precision, "runs": print_runs,
}  # fmt: skip


def main() -> None:
    """Print all tables, or some."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=500)
    parser.add_argument("--num-resamples", type=int, default=500)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    arguments = parser.parse_args()
    times = arguments.replications, arguments.num_resamples
    began = time.perf_counter()
    error = np.sqrt(0.95 * 0.05 / times[0])
    print(f"{times[0]} replications a cell (standard error about {error:.3f}), half as many at N = 5000")
    head = f"{'covered':>9s}{'above':>8s}{'below':>8s}{'percentile':>12s}{'p < .05':>10s}{'warned':>8s}"
    print(f"{'losses':30s}{'true':>6s}{head}")
    for part in arguments.parts:
        PARTS[part](*times)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
