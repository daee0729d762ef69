"""I-LoRA: a fast learner that is trained, and a slow one that is its moving average."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Self, get_args

import torch

from modeconn.continual.hidden import HiddenStates
from modeconn.continual.methods.method import Result, State
from modeconn.continual.methods.replay import Replay
from modeconn.continual.methods.slow_learners import Average, SlowLearner, slow_learner
from modeconn.continual.share import text_positions

if TYPE_CHECKING:
    from modeconn.continual.run import Run
    from modeconn.continual.share import Share
    from modeconn.models.encoded import Batch

Layers = Literal["last", "all"]
Kept = Literal["slow", "fast"]


@dataclass
class ILoRA(Replay):
    """Interpolation-based LoRA (Ren 2024, arXiv 2402.18865).

    After every step `slow = decay * slow + (1 - decay) * fast`, tensor by tensor. The loss of the fast learner is

        cross-entropy on the task's batch and on memory + consistency_weight * MSE(hidden_fast, hidden_slow) on memory

    where the mean is over layers, positions with text, and features, and no gradient reaches the slow learner. The
    published average is one of factors: it depends on their gauge, and its update is not the average of updates. That
    of the updates, `dW_slow = decay * dW_slow + (1 - decay) * dW_fast`, is held at a rank of its own (`SlowUpdates`).

    Attributes:
        decay: Weight that stays on the slow learner, in [0, 1].
        decay_warmup: Whether the decay of step k, counted from 0, is at most `1 - 1 / (k + 1)`: as long as that is
            lower, the slow learner is the plain mean of the fast ones so far, and the start does not count.
        consistency_weight: Weight of the hidden states' distance; 0 leaves the slow learner a mere average.
        layers: Which layers' outputs are compared: "last", "all", or their numbers from 0.
        one_sided: Whether only values count that are lower in the fast learner than in the slow one.
        result_learner: Which learner the checkpoint holds; the trainer goes on with the fast one.
        average: "factors" averages the learner's tensors, "weights" its updates (LoRA only).
        slow_rank: Rank of the average of updates; None takes twice the learner's.
        truncate_every: Steps after which that rank is restored; between them it grows.
    """

    decay: float = 0.99
    decay_warmup: bool = False
    consistency_weight: float = 1.0
    layers: Layers | Sequence[int] = "last"
    one_sided: bool = False
    result_learner: Kept = "slow"
    average: Average = "factors"
    slow_rank: int | None = None
    truncate_every: int = 1

    name: ClassVar[str] = "ilora"
    _average: SlowLearner = field(init=False, repr=False, compare=False)
    _hidden: HiddenStates = field(init=False, repr=False, compare=False)

    @property
    def reads_hidden_states(self) -> bool:
        """Where they are compared."""
        return bool(self.consistency_weight)

    def start(self, run: "Run") -> Self:
        """With a slow learner that equals the fast one."""
        mine = super().start(run)
        mine.check("consistency_weight", "0 or more", holds=mine.consistency_weight >= 0)
        mine.check("result_learner", "slow or fast", holds=mine.result_learner in get_args(Kept))
        mine._average = slow_learner(
            mine,
            run,
            average=mine.average,
            decay=mine.decay,
            warmup=mine.decay_warmup,
            rank=mine.slow_rank,
            truncate_every=mine.truncate_every,
        )
        mine._hidden = HiddenStates(run.learner.module, mine.layers)
        return mine

    def batch_penalty(
        self,
        batch: "Batch",
        logits: torch.Tensor,  # noqa: ARG002
        *,
        replayed: bool,
        share: "Share",
    ) -> torch.Tensor | None:
        """The distance of both learners' hidden states on replayed rows."""
        fast = self._hidden.taken()
        if not (replayed and self.consistency_weight):
            return None
        with torch.no_grad(), self.run.at(self._average.weights):
            self.run.losses(batch)
        slow = self._hidden.taken()
        masks = [text_positions(batch, states) for states in fast]
        distance = consistency(fast, slow, masks, one_sided=self.one_sided)
        return self.consistency_weight * share.positions * distance

    def after_step(self) -> None:
        """The slow learner follows."""
        self._average.follow()

    def best_so_far(self) -> State:
        """The slow learner."""
        return self._average.copied()

    def go_back(self, state: State) -> None:
        """The slow learner follows no step that the fast one takes back."""
        self._average.restore(state)

    def result(self) -> Result:
        """The slow learner, or the fast one."""
        return self._average.result() if self.result_learner == "slow" else None

    def others(self) -> Mapping[str, Result]:
        """The learner that `result` is not."""
        return {"fast": None} if self.result_learner == "slow" else {"slow": self._average.result()}

    def other_results(self) -> tuple[str, ...]:
        """The learner that `result` is not."""
        return ("fast" if self.result_learner == "slow" else "slow",)

    def state(self) -> State:
        """Buffer and slow learner."""
        return {**super().state(), "slow": self._average.state()}

    def restore(self, state: State) -> None:
        """Take them up."""
        super().restore(state)
        self._average.restore(state["slow"])


def consistency(
    fast: Sequence[torch.Tensor],
    slow: Sequence[torch.Tensor],
    masks: Sequence[torch.Tensor],
    *,
    one_sided: bool = False,
) -> torch.Tensor:
    """The mean over layers of the mean squared distance of hidden states at positions with text, `[]`.

    Args:
        fast: `[B, L, D]` a layer, with gradients.
        slow: `[B, L, D]` a layer.
        masks: `[B, L]` a layer, True at positions that count.
        one_sided: Whether only values count that are lower in `fast`.
    """
    distances = []
    for mine, other, mask in zip(fast, slow, masks, strict=True):
        difference = other[mask] - mine[mask]  # [positions, D]
        distances.append((difference.clamp(min=0) if one_sided else difference).square().mean())
    return torch.stack(distances).mean()
