"""One fit from its first step to its last: steps, validations, what is kept, and how it ends."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pandas as pd
import torch

from modeconn.errors import EvaluationError, FitError
from modeconn.fitting.objective import Objective
from modeconn.fitting.result import CurveFit, FitStopped
from modeconn.fitting.schedule import learning_rate
from modeconn.fitting.settings import FitSettings
from modeconn.fitting.state import FitState, FitStore
from modeconn.paths.path import Path

Progress = Callable[[int, int, str], None]
Fit = TypeVar("Fit")  # what it gives back


@dataclass(frozen=True)
class Backward:
    """Where the gradients of a step come from.

    Attributes:
        row: What the history notes of the step, `loss` (nats per scored token) among it.
        where: All points whose gradients were added up, in words: "t=0.2, 0.7".
    """

    row: dict[str, float]
    where: str


class FitRun(ABC, Generic[Fit]):
    """The part of a fit that does not depend on what is moved and where to.

    Args:
        curve: The path as it was given.
        objective: What is lowered.
        settings: How.
        store: Keeps the state.
    """

    def __init__(self, curve: Path, objective: Objective, settings: FitSettings, store: FitStore | None) -> None:
        self.objective, self.settings = objective, settings
        self._given, self._store = curve, store
        self._optimizer: torch.optim.Optimizer  # made by the method, of its tensors
        self._whole = True  # whether tensors and state belong together
        self._stored_step: int | None = None  # that of the state in the store
        self.state = FitState(identity=objective.identity(curve, settings))

    @property
    @abstractmethod
    def tensors(self) -> list[torch.Tensor]:
        """What is trained, in a fixed order."""

    @abstractmethod
    def _load(self, values: Sequence[torch.Tensor]) -> None:
        """Set what is trained."""

    @abstractmethod
    def _backward(self, step: int) -> Backward:
        """Add up the gradients of a step."""

    @abstractmethod
    def _measure(self) -> dict[str, float]:
        """Validate; the `objective`, by which the best is chosen and the patience counts, is among what is found."""

    @abstractmethod
    def _made(self, history: pd.DataFrame, *, stopped_early: bool) -> Fit:
        """The result with the tensors as they are now."""

    @property
    @abstractmethod
    def _validation_steps(self) -> int:
        """Steps from one validation to the next."""

    def _after_step(self) -> None:
        """What follows on a step of the optimiser."""

    def _after_validation(self) -> None:
        """What follows on a validation."""

    def run(self, progress: Progress | None) -> Fit:
        """Step until the end, the patience, or an error; what was reached is stored in every case."""
        kept = self._store.load() if self._store else None
        if kept is not None:
            self._restore(kept)
        try:
            self._validate_if_due()
            while self.state.step < self.settings.num_steps and not self._out_of_patience():
                self._step()
                self._validate_if_due()
                self._keep_if_due()
                if progress:
                    told = f"objective {self.state.best_value:.4f}"
                    progress(self.state.step, self.settings.num_steps, told)
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(self._interrupted())
            raise
        return self.result()

    def result(self) -> Fit:
        """The best so far."""
        self._load(self.state.best)
        return self._made(pd.DataFrame(self.state.history), stopped_early=self.state.step < self.settings.num_steps)

    def _step(self) -> None:
        """One step of the optimiser."""
        step = self.state.step
        found = self._backward(step)
        norm = float(torch.nn.utils.clip_grad_norm_(self.tensors, self.settings.max_grad_norm))
        self._check_finite(norm, "the gradient", where=found.where, step=step)
        rate = learning_rate(self.settings, step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        with self._moving():
            self._optimizer.step()
            self._optimizer.zero_grad()
            self._after_step()
            self.state.moved({"step": step + 1, **found.row, "learning_rate": rate, "grad_norm": norm})

    def _validate_if_due(self) -> None:
        """Measure the curve before the fit, every so many steps and at the end; keep it."""
        step, every = self.state.step, self._validation_steps
        due = step in (0, self.settings.num_steps) or (every > 0 and step % every == 0)
        if not due or self.state.validated_step == step:
            return
        try:
            found = self._measure()
        except EvaluationError as error:
            if not self.state.best:
                raise
            raise FitStopped(
                error.failed, expected=error.expected, got=error.got, remedy=self._way_out(), fit=self._kept_result()
            ) from error
        with self._moving():
            tensors = [tensor.detach().clone() for tensor in self.tensors]
            self.state.validated(found, tensors, value=found["objective"])
            self._after_validation()
        self._keep()

    def _keep_if_due(self) -> None:
        """Store the state every so many steps; a validation has stored it already."""
        step, every = self.state.step, self.settings.save_steps
        if every > 0 and step % every == 0 and self.state.validated_step != step:
            self._keep()

    def _check_finite(self, value: float, what: str, *, where: str, step: int) -> None:
        """Raise if a number is NaN or infinite; the bends have not moved since the last good step."""
        if math.isfinite(value):
            return
        raise FitStopped(
            f"{what} of the fit is not finite",
            expected="a number",
            got=f"{value} at {where}, step {step + 1}",
            remedy=self._way_out(),
            fit=self._kept_result(),
        )

    def _way_out(self) -> str:
        """What can be done about a fit that diverged."""
        return (
            f"lower --learning-rate; the best until then, that after step {self.state.best_step}, is kept"
            " (in Python: the error's attribute `fit`)"
        )

    def _kept_result(self) -> Fit:
        """The result so far, after its state is stored."""
        self._keep()
        return self.result()

    def _out_of_patience(self) -> bool:
        """Whether the last validations brought nothing better."""
        return self.state.validations_since_best >= self.settings.patience

    @contextmanager
    def _moving(self) -> Iterator[None]:
        """A context in which tensors and state change together; an interrupt in it leaves what was stored before."""
        self._whole = False
        yield
        self._whole = True

    def _interrupted(self) -> str:
        """Keep what is whole; say how to go on."""
        if not self._store:
            return "the fit is lost: fit_curve(..., store=...) keeps its state"
        if self._whole:
            self._keep()
        if self._stored_step is None:
            return "the fit stopped before anything of it was kept; started again it begins anew"
        return (
            f"the fit is kept as it was after step {self._stored_step}; started again in the same way it goes on there"
        )

    def _keep(self) -> None:
        """Store all that the next step depends on."""
        if self._store:
            self.state.bends = [tensor.detach().clone() for tensor in self.tensors]
            self.state.optimizer = self._optimizer.state_dict()
            self._store.save(copy.deepcopy(self.state))  # the fit goes on, what is kept does not
            self._stored_step = self.state.step

    def _restore(self, state: FitState) -> None:
        """Go on from a stored state.

        Raises:
            FitError: If it is that of another fit.
        """
        if state.identity != self.state.identity:
            raise FitError(
                "the state in the store is not that of this fit",
                expected="the same curve, model, tasks and settings as before",
                got="a state of another fit",
                remedy="fit with the settings of that fit, or give an empty store",
            )
        self.state, self._stored_step = copy.deepcopy(state), state.step
        self._load(state.bends)
        self._optimizer.load_state_dict(state.optimizer)


class CurveFitRun(FitRun[CurveFit]):
    """A fit of a curve between ends that stay."""

    @abstractmethod
    def _curve(self) -> Path:
        """The curve as it is now, bound to the model."""

    def _made(self, history: pd.DataFrame, *, stopped_early: bool) -> CurveFit:
        """The curve between the ends that were given."""
        given = self._given.points
        curve = self._given.with_points([given[0], *self._curve().points[1:-1], given[-1]])
        return CurveFit(curve, history, self.settings, self.state.best_step, stopped_early)


def optimizer_of(tensors: Sequence[torch.Tensor], settings: FitSettings) -> torch.optim.Optimizer:
    """AdamW, or SGD with momentum 0.9 as in Garipov 2018."""
    options: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    if settings.optimizer == "sgd":
        return torch.optim.SGD(list(tensors), momentum=0.9, **options)
    return torch.optim.AdamW(list(tensors), **options)
