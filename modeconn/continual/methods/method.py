"""The hooks that a continual-learning method may fill; plain sequential training fills none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.errors import RunError

if TYPE_CHECKING:
    from modeconn.continual.run import Run
    from modeconn.continual.share import Share
    from modeconn.models.encoded import Batch, EncodedTask

State = dict[str, Any]  # tensors, numbers, texts, lists and dicts of them
Result = Mapping[str, torch.Tensor] | Adapter | None  # weights of the learner, a point, or the learner as it is


@dataclass
class Sequential:
    """One task after the other, nothing against forgetting: the lower bound of every comparison.

    A method is a dataclass of its settings. `start` makes a copy that belongs to one run; the trainer then calls the
    hooks in the order in which they stand here. What a method remembers between steps goes through `state` and
    `restore`, so that a run that was killed goes on with the same bits.

    Attributes:
        name: How tables and the command line call the method.
        run: The run, once started.
    """

    name: ClassVar[str] = "sequential"
    run: "Run" = field(init=False, repr=False, compare=False)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings by name, as a run records them."""
        return {key: value for key, value in vars(self).items() if key in self.setting_names()}

    @classmethod
    def setting_names(cls) -> list[str]:
        """The names of the settings."""
        return [one.name for one in fields(cls) if one.init]

    @property
    def chooses_on_validation(self) -> bool:
        """Whether the method needs `run.selection_sets`."""
        return False

    @property
    def reads_hidden_states(self) -> bool:
        """Whether the method looks at layers' outputs, which must be there at all positions then."""
        return False

    def stages(self, num_tasks: int) -> Sequence[Sequence[int]]:
        """Which tasks, counted from 1, are trained together; a checkpoint is kept after each stage."""
        return [[number] for number in range(1, num_tasks + 1)]

    def start(self, run: "Run") -> Self:
        """The method at the start of a run, with a state of its own."""
        mine = type(self)(**self.settings)
        mine.run = run
        return mine

    def start_task(self, number: int) -> None:
        """Before the first step on task `number`, counted from 1."""

    def start_step(self, rows: "Sequence[int]") -> None:
        """Before a step on these rows of the task, which come in this order."""

    def replayed(self) -> "Sequence[tuple[EncodedTask, int]]":
        """Rows of earlier tasks that join the next step, each a split and a row's number."""
        return ()

    def batch_penalty(
        self,
        batch: "Batch",  # noqa: ARG002
        logits: torch.Tensor,  # noqa: ARG002
        *,
        replayed: bool,  # noqa: ARG002
        share: "Share",  # noqa: ARG002
    ) -> torch.Tensor | None:
        """What is added to the loss of a batch, right after the learner's forward pass on it.

        Args:
            batch: The batch.
            logits: The learner's logits at the scored positions, `[B, A, C]`, with their gradients.
            replayed: Whether its rows are replayed ones.
            share: Its parts of the step's rows of that sort: a mean over the batch, times the share of what it is a
                mean over, counts once a step, however many batches the step has, and processes: each sees some of them.
        """
        return None

    def weight_penalty(self) -> torch.Tensor | None:
        """What is added to the loss once a step, a function of the weights."""
        return None

    def adjust_gradients(self) -> None:
        """Change the gradients of a whole step, before they are clipped."""

    def after_step(self) -> None:
        """After the optimiser's step."""

    def best_so_far(self) -> State:
        """After an epoch with a lower validation loss: a copy of what follows the weights, step by step.

        It is for `go_back`.
        """
        return {}

    def go_back(self, state: State) -> None:
        """Early stopping sets the weights to those of the lowest validation loss: go back to what was then, too."""

    def end_task(self, number: int) -> None:
        """After the last step on a task, before its checkpoint is saved."""

    def result(self) -> Result:
        """What the checkpoint holds: weights of the learner, or a point; None for the learner as it is."""
        return None

    def others(self) -> Mapping[str, Result]:
        """What is saved beside it, under the names of `other_results`."""
        return {}

    def other_results(self) -> tuple[str, ...]:
        """The names of what `others` gives; known before the run starts."""
        return ()

    def checkpoint_for(self, task: int, newest: int) -> int:  # noqa: ARG002
        """The checkpoint that answers a task's questions when `newest` is the last, all counted from 1."""
        return newest

    def facts(self) -> dict[str, Any]:
        """What the record of the run notes of the method, plain values."""
        return {}

    def state(self) -> State:
        """All that the method remembers."""
        return {}

    def restore(self, state: State) -> None:
        """Take up what `state` gave."""

    def check(self, name: str, expected: str, *, holds: bool) -> None:
        """Raise unless a setting's value may be used.

        Raises:
            RunError: If it may not.
        """
        if not holds:
            raise RunError(
                f"{name} of {self.name} cannot be used",
                expected=expected,
                got=repr(getattr(self, name)),
                remedy=f"give another {name} in method_options (--method-options)",
            )
