"""One adapter a task: nothing is forgotten, and nothing is shared."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

import torch

from modeconn.continual.methods.method import Sequential, State

if TYPE_CHECKING:
    from modeconn.continual.run import Run


@dataclass
class OneAdapterPerTask(Sequential):
    """A learner of its own for every task, from the same start; it must be told which task a question belongs to.

    In the score matrix `R[i, j]` is the score of the adapter of task j where `j <= i`, and of the newest one, that of
    task i, where `j > i`. So its forgetting is 0 by construction, and above the diagonal stands what one task alone
    brings to another.
    """

    name: ClassVar[str] = "per-task"
    _start: dict[str, torch.Tensor] = field(init=False, repr=False, compare=False)

    def start(self, run: "Run") -> Self:
        """With the learner's first weights at hand."""
        mine = super().start(run)
        mine._start = run.weights()
        return mine

    def start_task(self, number: int) -> None:  # noqa: ARG002
        """The learner is what it was before any task."""
        self.run.load(self._start)

    def checkpoint_for(self, task: int, newest: int) -> int:
        """The task's own, or the newest where it has none yet."""
        return min(task, newest)

    def state(self) -> State:
        """The first weights."""
        return {"start": self._start}

    def restore(self, state: State) -> None:
        """Take them up."""
        self._start = {name: value.to(self._start[name].device) for name, value in state["start"].items()}
