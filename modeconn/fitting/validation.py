"""At which of some positions along a curve the loss is worst, on data that the fit does not see."""

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


def highest(positions: Sequence[float], losses: np.ndarray) -> dict[str, float]:
    """The highest of some losses, where it is, and of how many: `worst_loss`, `worst_t` and `worst_of`.

    What a curve does between the positions, no validation knows.

    Args:
        positions: T positions on a curve.
        losses: `[T]`.
    """
    worst = int(np.argmax(losses))
    return {"worst_loss": float(losses[worst]), "worst_t": positions[worst], "worst_of": len(positions)}


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

    def worst(self, curve: Path, *, step: int) -> dict[str, float]:
        """The highest of the losses at the validation positions (see `highest`).

        Raises:
            EvaluationError: If a loss is not finite.
        """
        return highest(self.positions, self.losses(curve, self.positions, step=step))

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
