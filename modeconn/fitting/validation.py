"""Where along a curve the loss is worst, on data that the fit does not see."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from modeconn.evaluation.gate import check_finite
from modeconn.fitting.reader import Reader
from modeconn.fitting.settings import FitSettings
from modeconn.models.point_model import Encoded
from modeconn.paths.path import Path
from modeconn.tasks.encoding import EncodingSettings


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
            generate=False,  # losses are all that is asked for
        )
        self._readers = list(readers)
        pairs = zip(readers, tasks, strict=True)
        self.encoded: list[Encoded] = [one.model.encode(task, settings.eval_split, encoding) for one, task in pairs]
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
        point, means = curve(t), np.zeros(len(self.encoded))
        for reader in dict.fromkeys(self._readers):
            tasks = [task for task, one in enumerate(self._readers) if one is reader]
            found = reader.evaluate(point, [self.encoded[task] for task in tasks])
            for task, sums in zip(tasks, found, strict=True):
                split = self.encoded[task]
                check_finite(sums.loss_sum, f"{split.task}/{split.split} at t={t:g} after step {step} of the fit")
                means[task] = sums.loss_sum.sum() / sums.num_tokens.sum()
        return float(self.weights @ means)
