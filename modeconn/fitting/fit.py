"""Fitting a curve: the bends move downhill, the ends stay."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from modeconn.fitting.bends import Bends
from modeconn.fitting.objective import Objective, check_curve
from modeconn.fitting.result import CurveFit
from modeconn.fitting.run import Backward, CurveFitRun, Progress, optimizer_of
from modeconn.fitting.schedule import positions
from modeconn.fitting.settings import FitSettings
from modeconn.fitting.state import FitStore
from modeconn.models.point_model import PointModel
from modeconn.paths.path import Path


def fit_curve(
    curve: Path,
    model: PointModel,
    tasks: Sequence[Any],
    *,
    settings: FitSettings | None = None,
    store: FitStore | None = None,
    progress: Progress | None = None,
    **overrides: Any,  # noqa: ANN401  (fields of FitSettings)
) -> CurveFit:
    """Move a curve's bends to where the tasks' loss along the curve is low.

    Minimises `E_t sum_i w_i L_i(path(t))` with t uniform in (0, 1) by stochastic gradients (Garipov 2018,
    arXiv 1802.10026): every step draws positions and a batch, and the bends receive `c_k(t)` times the gradient at
    the point. The ends are never touched. The curve that is returned is the one of the lowest objective on the
    validation split: the mean loss over t, of `eval_points` positions, plus the most that one of them lies above the
    chord of the ends. The worst of the positions is noted too; it cannot choose, because next to a bad end the loss is
    bad on every curve.

    Args:
        curve: A curve with bends; `BezierCurve.between(start, end, num_bends=1)` starts on the line.
        model: The model.
        tasks: What the loss is made of; `task_weights` says in which shares.
        settings: How to fit.
        store: Keeps the state, so that an interrupted fit goes on where it was, with the same bits on a CPU.
        progress: Called as `progress(done, total, what)` after every step.
        overrides: Fields of `FitSettings` that take the place of those in `settings`.

    Returns:
        The fitted curve, its history and settings.

    Raises:
        FitError: If the curve has no bend, both ends are one point, the bends are no factors, the settings do not fit
            the tasks, or the store holds another fit.
        FitStopped: If a loss or a gradient is not finite; its `fit` is the best curve until then.
        ModelError: If a point does not fit the model.
        TaskError: If a task lacks the training or the validation split.
        EvaluationError: If the tasks' names are not unique, or a loss before the first step is not finite.

    Example:
        Of two adapters `a` and `b` of a model, and tasks with the splits train and eval::

            fit = fit_curve(BezierCurve.between(a, b), model, tasks, num_steps=500, seed=0)
            evaluate_path(fit.curve, model, tasks).barriers()  # on the test split
            save_path(fit.curve, "curve")
    """
    settings = replace(settings or FitSettings(), **overrides)
    check_curve(curve, model)
    return _CurveRun(curve, Objective(curve, model, tasks, settings), settings, store).run(progress)


class _CurveRun(CurveFitRun):
    """A fit of bends at random positions on the curve."""

    def __init__(self, curve: Path, objective: Objective, settings: FitSettings, store: FitStore | None) -> None:
        super().__init__(curve, objective, settings, store)
        self._bends = Bends(curve.on(objective.model), objective.model.device)
        self._optimizer = optimizer_of(self.tensors, settings)

    @property
    def tensors(self) -> list[torch.Tensor]:
        """Those of the bends."""
        return self._bends.tensors

    def _load(self, values: Sequence[torch.Tensor]) -> None:
        """Set the bends."""
        self._bends.load(values)

    def _curve(self) -> Path:
        """The curve through the bends."""
        return self._bends.curve()

    def _backward(self, step: int) -> Backward:
        """The gradients of one batch, or several, at every position of the step."""
        per_position = self.settings.gradient_accumulation_steps
        batches = self.objective.batches_per_step
        drawn = positions(self.settings, self._bends.curve, step)
        total = 0.0
        for number, t in enumerate(t for t in drawn for _ in range(per_position)):
            at = partial(self._bends.at, t)
            loss = self.objective.loss(at, step * batches + number, self.tensors, of=batches)
            self._check_finite(loss, "the loss", where=f"t={t:.4f}", step=step)
            total += loss
        return Backward({"t": drawn[-1], "loss": total}, f"t={', '.join(f'{t:.4f}' for t in drawn)}")

    def _measure(self) -> dict[str, float]:
        """The validation positions."""
        return self.objective.validation.measured(self._curve(), step=self.state.step)

    @property
    def _validation_steps(self) -> int:
        """As the settings say."""
        return self.settings.eval_steps
