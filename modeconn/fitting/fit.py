"""Fitting a curve: the bends move downhill, the ends stay."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import torch

from modeconn.errors import FitError
from modeconn.evaluation.evaluate import check_tasks
from modeconn.fitting.batches import Mixture, check_finite_loss
from modeconn.fitting.bends import Bends
from modeconn.fitting.result import CurveFit
from modeconn.fitting.schedule import learning_rate, positions
from modeconn.fitting.settings import FitSettings
from modeconn.fitting.state import FitState, FitStore
from modeconn.fitting.validation import Validation
from modeconn.models.point_model import PointModel
from modeconn.models.trainable import placed_trainable
from modeconn.paths.path import Path
from modeconn.tasks.encoding import EncodingSettings

Progress = Callable[[int, int, str], None]


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
    the point. The ends are never touched. The curve that is returned is the one with the lowest worst loss on the
    validation split.

    Args:
        curve: A curve with bends; `BezierCurve.between(start, end, num_bends=1)` starts on the line.
        model: The model.
        tasks: What the loss is made of; `task_weights` says in which shares.
        settings: How to fit.
        store: Keeps the state, so that an interrupted fit goes on where it was, with the same bits on a CPU.
        progress: Called as `progress(done, total, what)` after every step.
        overrides: Fields of `FitSettings`, instead of `settings`.

    Returns:
        The fitted curve, its history and settings.

    Raises:
        FitError: If the curve has no bend, both ends are one point, or the settings do not fit the tasks.
        TaskError: If a task lacks the training or the validation split.
        EvaluationError: If a loss is not finite; the state that was kept goes back to the last good curve.
    """
    settings = settings or FitSettings(**overrides)
    check_tasks(tasks)
    weights = _weights(settings, tasks)
    for point in (curve.start, curve.end):
        model.check(point)
    if curve.start.fingerprint == curve.end.fingerprint:
        raise FitError(
            "there is nothing to fit between a point and itself",
            expected="two different ends",
            got=f"{curve.start.name} and {curve.end.name} are the same point",
            remedy="give another end",
        )
    training = EncodingSettings(max_length=settings.max_length, score_eos=settings.score_eos, all_choices=False)
    encoded = [model.encode(task, settings.train_split, training) for task in tasks]
    fit = _Fit(curve, model, settings, store, Validation(model, tasks, weights, settings))
    fit.mixture = Mixture(
        model,
        encoded,
        weights,
        batch_size=settings.per_device_train_batch_size,
        num_batches=settings.num_steps * fit.batches_per_step,
        seed=settings.seed,
    )
    return fit.run(progress)


def _weights(settings: FitSettings, tasks: Sequence[Any]) -> Sequence[float]:
    """One weight a task."""
    weights = settings.task_weights or (1.0,) * len(tasks)
    if len(weights) != len(tasks):
        raise FitError(
            "the task weights do not fit the tasks",
            expected=f"{len(tasks)} weights, one a task",
            got=f"{len(weights)}: {', '.join(f'{weight:g}' for weight in weights)}",
            remedy="give one --task-weights value for each of --tasks",
        )
    return weights


class _Fit:
    """One fit: bends, optimiser, and what happened so far."""

    mixture: Mixture

    def __init__(
        self, curve: Path, model: PointModel, settings: FitSettings, store: FitStore | None, validation: Validation
    ) -> None:
        self.model, self.settings, self.store, self.validation = model, settings, store, validation
        self.bends = Bends(curve.on(model), model.device)
        self.batches_per_step = settings.positions_per_step * settings.gradient_accumulation_steps
        self.optimizer = _optimizer(self.bends.tensors, settings)
        self.state = FitState()

    def run(self, progress: Progress | None) -> CurveFit:
        """Step until the end, the patience, or an error; what was reached is stored in every case."""
        kept = self.store.load() if self.store else None
        if kept is not None:
            self._restore(kept)
        else:
            self._validate()
        try:
            while self.state.step < self.settings.num_steps and not self._out_of_patience():
                self.state.history.append(self._step(self.state.step))
                self.state.step += 1
                if self._validation_is_due():
                    self._validate()
                    self._keep()
                if progress:
                    progress(self.state.step, self.settings.num_steps, f"worst loss {self.state.best_worst:.4f}")
        except KeyboardInterrupt:
            self._keep()
            raise
        self.bends.load(self.state.best)
        return CurveFit(
            self.bends.curve(),
            pd.DataFrame(self.state.history),
            self.settings,
            self.state.best_step,
            self.state.step < self.settings.num_steps,
        )

    def _step(self, step: int) -> dict[str, float]:
        """One optimiser step; its row of the history."""
        settings, tensors = self.settings, self.bends.tensors
        drawn = positions(settings, self.bends.curve, step)
        total = 0.0
        for number, t in enumerate(t for t in drawn for _ in range(settings.gradient_accumulation_steps)):
            loss = self._loss(t, step * self.batches_per_step + number) / self.batches_per_step
            check_finite_loss(loss, t=t, step=step)
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(tensors, settings.max_grad_norm)
        rate = learning_rate(settings, step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {"step": step + 1, "t": drawn[-1], "learning_rate": rate, "loss": total, "grad_norm": float(norm)}

    def _loss(self, t: float, batch_number: int) -> torch.Tensor:
        """The loss of one batch at a position, in nats per scored token."""
        batch, divisors = self.mixture.batch(batch_number)
        autocast = torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.settings.bf16)
        with placed_trainable(self.model.module, self.bends.at(t)), autocast:
            losses = self.model.batch_losses(batch)
        return (losses / divisors.to(losses.device)).mean()

    def _validation_is_due(self) -> bool:
        """After every `eval_steps` steps, and at the end."""
        every, step = self.settings.eval_steps, self.state.step
        return step == self.settings.num_steps or (every > 0 and step % every == 0)

    def _validate(self) -> None:
        """Measure the worst loss along the curve; remember the curve if it is the best so far."""
        worst, t = self.validation.worst(self.bends.curve(), step=self.state.step)
        if not self.state.history:
            self.state.history.append({"step": 0})
        self.state.history[-1] |= {"worst_loss": worst, "worst_t": t}
        self.state.validated(worst, [tensor.detach().clone() for tensor in self.bends.tensors])

    def _out_of_patience(self) -> bool:
        """Whether the last validations brought nothing better."""
        return self.state.validations_since_best >= self.settings.patience

    def _keep(self) -> None:
        """Store all that the next step depends on."""
        if self.store:
            self.state.bends = [tensor.detach().clone() for tensor in self.bends.tensors]
            self.state.optimizer = self.optimizer.state_dict()
            self.store.save(self.state)

    def _restore(self, state: FitState) -> None:
        """Go on from a stored state."""
        self.state = state
        self.bends.load(state.bends)
        self.optimizer.load_state_dict(state.optimizer)


def _optimizer(tensors: list[torch.Tensor], settings: FitSettings) -> torch.optim.Optimizer:
    """AdamW, or SGD with momentum 0.9 as in Garipov 2018."""
    options: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    if settings.optimizer == "sgd":
        return torch.optim.SGD(tensors, momentum=0.9, **options)
    return torch.optim.AdamW(tensors, **options)
