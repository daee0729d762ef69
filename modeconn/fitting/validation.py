"""Where along a curve the loss is worst, on data that the fit does not see."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from modeconn.evaluation.gate import check_finite
from modeconn.fitting.settings import FitSettings
from modeconn.models.point_model import Encoded, PointModel
from modeconn.paths.path import Path
from modeconn.tasks.encoding import EncodingSettings


class Validation:
    """The validation splits of a fit.

    Args:
        model: The model.
        tasks: The tasks.
        weights: One weight a task.
        settings: Split, number of positions, token budget.

    Raises:
        TaskError: If a task lacks the split.
    """

    def __init__(
        self, model: PointModel, tasks: Sequence[Any], weights: Sequence[float], settings: FitSettings
    ) -> None:
        encoding = EncodingSettings(
            max_length=settings.max_length, token_budget=settings.token_budget, separator=settings.separator
        )
        self.model = model
        self.encoded: list[Encoded] = [model.encode(task, settings.eval_split, encoding) for task in tasks]
        self.weights = np.asarray(weights) / np.sum(weights)
        # Inside the ends, which no fit moves: their loss would hide what happens between them.
        self.positions = np.linspace(0.0, 1.0, settings.eval_points + 2)[1:-1].tolist()

    def losses(self, curve: Path, positions: Sequence[float], *, step: int) -> np.ndarray:
        """The weighted mean loss at positions on a curve, `[T]`, in nats per scored token.

        Args:
            curve: The curve as it is.
            positions: T positions.
            step: After which step, for messages.

        Raises:
            EvaluationError: If a loss is not finite.
        """
        return np.array([self._loss(curve, t, step) for t in positions])

    def worst(self, curve: Path, *, step: int) -> dict[str, float]:
        """The highest of the losses inside the curve, and where it is: `worst_loss` and `worst_t`.

        Raises:
            EvaluationError: If a loss is not finite.
        """
        losses = self.losses(curve, self.positions, step=step)
        highest = int(np.argmax(losses))
        return {"worst_loss": float(losses[highest]), "worst_t": self.positions[highest]}

    def _loss(self, curve: Path, t: float, step: int) -> float:
        """The weighted mean loss at a position."""
        means = []
        for split, sums in zip(self.encoded, self.model.evaluate(curve(t), self.encoded), strict=True):
            check_finite(sums.loss_sum, f"{split.task}/{split.split} at t={t:g} after step {step} of the fit")
            means.append(sums.loss_sum.sum() / sums.num_tokens.sum())
        return float(self.weights @ np.array(means))
