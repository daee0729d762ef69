"""Everything that the next step of a fit depends on."""

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch


@dataclass
class FitState:
    """Where a fit is; batches and positions are functions of the step, so that no generator is part of it.

    Attributes:
        identity: A hash of what is fitted on what and how; a state of another fit is refused.
        step: Steps done.
        validated_step: The step after which the last validation was made; -1 before the first.
        history: Rows so far.
        bends: The tensors that are trained.
        shares: AutoNEB: the part of the chain's length that each segment has.
        optimizer: State of the optimiser.
        best: The tensors at the validation of the lowest value so far.
        best_value: That value, the objective, in nats per scored token.
        best_step: The step after which it was measured.
        validations_since_best: Validations since then.
    """

    identity: str = ""
    step: int = 0
    validated_step: int = -1
    history: list[dict[str, float]] = field(default_factory=list)
    bends: list[torch.Tensor] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    optimizer: dict[str, Any] = field(default_factory=dict)
    best: list[torch.Tensor] = field(default_factory=list)
    best_value: float = math.inf
    best_step: int = 0
    validations_since_best: int = 0

    def moved(self, row: dict[str, float]) -> None:
        """Take note of a step."""
        self.history.append(row)
        self.step += 1

    def validated(self, found: dict[str, float], tensors: list[torch.Tensor], *, value: float) -> None:
        """Take note of a validation: what it found, with which tensors, and the value that is to be low."""
        if not self.history:
            self.history.append({"step": 0})
        self.history[-1] |= found
        self.validated_step = self.step
        if value < self.best_value:
            self.best_value, self.best, self.best_step = value, tensors, self.step
            self.validations_since_best = 0
        else:
            self.validations_since_best += 1


class FitStore(Protocol):
    """Keeps the state of a fit."""

    def load(self) -> FitState | None:
        """The state that was kept last, or None."""
        ...

    def save(self, state: FitState) -> None:
        """Keep a state in place of the one before."""
        ...
