"""How good a curve is at some positions along it, on data that the fit does not see."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from modeconn.adapters.adapter import Adapter
from modeconn.evaluation.gate import check_finite
from modeconn.fitting.reader import Reader
from modeconn.fitting.settings import FitSettings
from modeconn.models.point_model import Encoded
from modeconn.paths.path import Path
from modeconn.tasks.encoding import EncodingSettings


def validation_positions(count: int) -> list[float]:
    """The Chebyshev nodes inside (0, 1), `t_k = (1 - cos((2 k - 1) pi / (2 n))) / 2`, increasing.

    They come near the ends, where a curve that avoids a barrier in its middle may still have to climb; five of them
    lie within 0.025 of both, where evenly spaced ones begin at 1/6. The ends themselves are left out: no fit moves
    them, and their loss would hide what happens between them.

    Args:
        count: n.

    Example:
        >>> [round(t, 3) for t in validation_positions(5)]
        [0.024, 0.206, 0.5, 0.794, 0.976]
    """
    return [0.5 + 0.5 * math.sin(math.pi * ((2 * k + 1) / (2 * count) - 0.5)) for k in range(count)]


def mean_weights(count: int) -> np.ndarray:
    """The weights of the validation positions in a mean over t, `[n]`: Fejer's rule, exact to degree n - 1.

    `w_k = (1 - 2 sum_{j <= n/2} cos(2 j theta_k) / (4 j^2 - 1)) / n` with `theta_k = (2 k - 1) pi / (2 n)`. All are
    positive; those next to the ends are the smallest.

    Args:
        count: n.

    Example:
        >>> mean_weights(5).round(3).tolist()
        [0.084, 0.263, 0.307, 0.263, 0.084]
    """
    theta = (2 * np.arange(count) + 1) * np.pi / (2 * count)  # [n]
    orders = np.arange(1, count // 2 + 1)  # [J]
    return (1 - 2 * (np.cos(2 * np.outer(theta, orders)) / (4 * orders**2 - 1)).sum(axis=1)) / count


def highest(positions: Sequence[float], losses: np.ndarray) -> dict[str, float]:
    """The highest of some losses, where it is, and of how many: `worst_loss`, `worst_t` and `worst_of`.

    What a curve does between the positions, no validation knows. The highest says little of a curve between ends of
    which one is bad: it lies next to that end, whatever the curve does.

    Args:
        positions: T positions on a curve.
        losses: `[T]`.
    """
    worst = int(np.argmax(losses))
    return {"worst_loss": float(losses[worst]), "worst_t": positions[worst], "worst_of": len(positions)}


def mean_and_barrier(positions: Sequence[float], losses: np.ndarray, ends: np.ndarray) -> dict[str, float]:
    """How good a curve is between given ends: `mean_loss`, `above_chord`, and their sum, the `objective`.

    The mean over t is what a fit lowers, and bends can always change it. What lies above the chord of the ends, if
    anything does, is added in full: a narrow wall, which a mean would hardly notice, costs its height.

    Args:
        positions: The validation positions.
        losses: `[T]`, there.
        ends: `[2]`, the losses of both ends.

    Returns:
        In nats; `above_chord` is the most that a loss lies above the chord, below 0 where all lie under it, and does
        not count in the objective then.
    """
    t = np.asarray(positions)
    above = float((losses - ((1 - t) * ends[0] + t * ends[1])).max())
    mean = float(mean_weights(len(t)) @ losses)
    return {"mean_loss": mean, "above_chord": above, "objective": mean + max(0.0, above)}


class Validation:
    """The validation splits of a fit.

    Args:
        readers: By what each task is scored.
        tasks: The tasks.
        weights: One weight a task.
        settings: Split, number of positions, token budget.

    Raises:
        TaskError: If a task lacks the split.
    """

    def __init__(
        self, readers: Sequence[Reader], tasks: Sequence[Any], weights: Sequence[float], settings: FitSettings
    ) -> None:
        encoding = EncodingSettings(
            max_length=settings.max_length,
            token_budget=settings.token_budget,
            mask_labels=settings.mask_labels,
            separator=settings.separator,
            score_eos=settings.eval_score_eos,
            all_choices=False,  # losses are all that is asked for
            generate=False,
        )
        self._readers = list(readers)
        pairs = zip(readers, tasks, strict=True)
        self.encoded: list[Encoded] = [one.model.encode(task, settings.eval_split, encoding) for one, task in pairs]
        self.weights = np.asarray(weights) / np.sum(weights)
        self.positions = validation_positions(settings.eval_points)
        self._ends: np.ndarray | None = None  # their losses, which no step changes

    def losses(self, curve: Path, positions: Sequence[float], *, step: int) -> np.ndarray:
        """The weighted mean loss at positions on a curve, `[T]`, in nats per scored token.

        Args:
            curve: The curve as it is.
            positions: T positions.
            step: After which step, for messages.

        Raises:
            EvaluationError: If a loss is not finite.
        """
        return np.array([self.mean_loss(curve(t), f"t={t:g}", step=step) for t in positions])

    def measured(self, curve: Path, *, step: int) -> dict[str, float]:
        """What the losses at the validation positions say of a curve (see `highest` and `mean_and_barrier`).

        Args:
            curve: The curve as it is; its ends are the same every time.
            step: After which step, for messages.

        Raises:
            EvaluationError: If a loss is not finite.
        """
        if self._ends is None:
            self._ends = self.losses(curve, [0.0, 1.0], step=step)
        losses = self.losses(curve, self.positions, step=step)
        return highest(self.positions, losses) | mean_and_barrier(self.positions, losses, self._ends)

    def mean_loss(self, point: Adapter, where: str, *, step: int) -> float:
        """The weighted mean loss at a point, in nats per scored token.

        Args:
            point: The point.
            where: Where it lies, for messages: "t=0.5".
            step: After which step, for messages.

        Raises:
            EvaluationError: If a loss is not finite.
        """
        means = np.zeros(len(self.encoded))
        for reader in dict.fromkeys(self._readers):
            tasks = [task for task, one in enumerate(self._readers) if one is reader]
            found = reader.evaluate(point, [self.encoded[task] for task in tasks])
            for task, sums in zip(tasks, found, strict=True):
                split = self.encoded[task]
                check_finite(sums.loss_sum, f"{split.task}/{split.split} at {where} after step {step} of the fit")
                means[task] = sums.loss_sum.sum() / sums.num_tokens.sum()
        return float(self.weights @ means)
