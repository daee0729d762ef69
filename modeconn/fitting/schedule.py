"""Learning rates and positions of a fit, as functions of the step: nothing to save, nothing to restore."""

from collections.abc import Callable

import torch

from modeconn.fitting.settings import FitSettings
from modeconn.paths.lengths import LengthTable
from modeconn.paths.path import Path


def learning_rate(settings: FitSettings, step: int) -> float:
    """The learning rate of a step, counted from 0.

    Garipov 2018 (arXiv 1802.10026): constant over the first half, then linear down to 1 % at 90 % of the steps.
    Draxler 2018 (arXiv 1803.00885): three sevenths of the steps at the full rate, two at a tenth, two at a hundredth.

    Example:
        >>> settings = FitSettings(num_steps=100, learning_rate=1.0)
        >>> [round(learning_rate(settings, step), 3) for step in (0, 49, 70, 90, 99)]
        [1.0, 1.0, 0.505, 0.01, 0.01]
    """
    if settings.schedule == "constant":
        return settings.learning_rate
    done = step / settings.num_steps
    if settings.schedule == "draxler":
        return settings.learning_rate * (1.0 if done < 3 / 7 else 0.1 if done < 5 / 7 else 0.01)
    factor = 1.0 if done <= 0.5 else max(0.01, 1.0 - 0.99 * (done - 0.5) / 0.4)
    return settings.learning_rate * factor


def generator_of(seed: int, *numbers: int) -> torch.Generator:
    """A generator that depends on a seed and some numbers, such as a step, and on nothing else."""
    mixed = seed & 0xFFFFFFFF
    for number in numbers:
        mixed = (mixed * 6_364_136_223_846_793_005 + number * 2 + 1_442_695_040_888_963_407) & 0x7FFFFFFFFFFFFFFF
    return torch.Generator().manual_seed(mixed)


def positions(settings: FitSettings, curve: Callable[[], Path], step: int) -> list[float]:
    """The positions t of a step: one uniform draw from each of n equal strata of (0, 1).

    With `uniform_in="arc-length"` the draws are parts of the curve's length as it is now, to 1e-11 of it (see
    `paths.arclength`); parts of no length are the positions themselves.

    Args:
        settings: Seed, number of positions, and in what they are uniform.
        curve: Gives the curve as it is at this step; asked only where its length is needed.
        step: Counted from 0.
    """
    count = settings.positions_per_step
    draws = torch.rand(count, generator=generator_of(settings.seed, 1, step), dtype=torch.float64)
    parts = (torch.arange(count, dtype=torch.float64) + draws) / count  # [n]
    if settings.uniform_in == "arc-length":
        table = LengthTable.of(curve())
        parts = table.inverse(parts) if table.lengths[-1] > 0 else parts
    return parts.tolist()
