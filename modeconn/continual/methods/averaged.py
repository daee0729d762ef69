"""Averages of what sequential training passes by, without replay: over its steps, or over its checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from modeconn.continual.methods.merged import Merged, Space, merged
from modeconn.continual.methods.method import Result, Sequential, State
from modeconn.continual.methods.slow_learners import Average, SlowLearner, slow_learner

if TYPE_CHECKING:
    from modeconn.continual.run import Run


@dataclass
class MovingAverage(Sequential):
    """Sequential training whose result is the moving average of its steps, `slow = decay slow + (1 - decay) fast`.

    Averages of iterates go back to Polyak and Juditsky 1992. It is I-LoRA without memory and without its consistency
    loss: what is trained is the same as without the average.

    Attributes:
        decay: Weight that stays on the average, in [0, 1].
        decay_warmup: Whether the decay of step k, counted from 0, is at most `1 - 1 / (k + 1)`.
        average: "factors" averages the learner's tensors, "weights" its updates (LoRA only).
        slow_rank: Rank of the average of updates; None takes twice the learner's.
        truncate_every: Steps after which that rank is restored; between them it grows.
    """

    decay: float = 0.999
    decay_warmup: bool = False
    average: Average = "factors"
    slow_rank: int | None = None
    truncate_every: int = 1

    name: ClassVar[str] = "ema"
    _slow: SlowLearner = field(init=False, repr=False, compare=False)

    def start(self, run: "Run") -> Self:
        """With an average that equals the learner."""
        mine = super().start(run)
        mine._slow = slow_learner(
            mine,
            run,
            average=mine.average,
            decay=mine.decay,
            warmup=mine.decay_warmup,
            rank=mine.slow_rank,
            truncate_every=mine.truncate_every,
        )
        return mine

    def after_step(self) -> None:
        """The average follows."""
        self._slow.follow()

    def best_so_far(self) -> State:
        """The average."""
        return self._slow.copied()

    def go_back(self, state: State) -> None:
        """The average holds no step that the learner takes back."""
        self._slow.restore(state)

    def result(self) -> Result:
        """The average."""
        return self._slow.result()

    def others(self) -> Mapping[str, Result]:
        """The learner as it is."""
        return {"fast": None}

    def other_results(self) -> tuple[str, ...]:
        """The learner as it is."""
        return ("fast",)

    def state(self) -> State:
        """The average."""
        return self._slow.state()

    def restore(self, state: State) -> None:
        """Take it up."""
        self._slow.restore(state)


@dataclass
class Soup(Sequential):
    """Sequential training whose result is the plain mean of its checkpoints, `1/i sum_{k <= i} w_k`.

    The uniform soup (Wortsman 2022, arXiv 2203.05482), of the checkpoints of one run in the place of several.

    Attributes:
        space: "weights" averages the updates, exactly: the rank is the sum of the checkpoints' ranks. "factors"
            averages the learner's tensors.
    """

    space: Space = "weights"

    name: ClassVar[str] = "soup"
    _merged: Merged = field(init=False, repr=False, compare=False)

    def start(self, run: "Run") -> Self:
        """With nothing to average yet."""
        mine = super().start(run)
        mine._merged = merged(mine, run, mine.space)
        return mine

    def end_task(self, number: int) -> None:
        """The checkpoint joins the mean."""
        self._merged.take(1 / number)

    def result(self) -> Result:
        """The mean."""
        return self._merged.result

    def others(self) -> Mapping[str, Result]:
        """The learner as it is."""
        return {"newest": None}

    def other_results(self) -> tuple[str, ...]:
        """The learner as it is."""
        return ("newest",)

    def state(self) -> State:
        """The mean."""
        return self._merged.state()

    def restore(self, state: State) -> None:
        """Take it up."""
        self._merged.restore(state)
