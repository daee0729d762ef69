"""Learners that follow the trained one as its moving average: of factors, or of the weight updates themselves."""

from typing import TYPE_CHECKING, Literal

import torch

from modeconn.adapters.part import LowRank
from modeconn.adapters.update import Update
from modeconn.continual.methods.lora_pairs import Pair, lora_pairs, nearest_pair, with_updates
from modeconn.continual.methods.method import Result, Sequential, State

if TYPE_CHECKING:
    from modeconn.continual.run import Run

Average = Literal["factors", "weights"]


class SlowLearner:
    """`slow_k = decay slow_{k-1} + (1 - decay) fast_k`, tensor by tensor.

    Of LoRA's factors this is no average of updates: `((B_0 + B_1) / 2) ((A_0 + A_1) / 2)` depends on the gauge.

    Args:
        run: The run; the slow learner begins as the fast one is now.
        decay: Weight that stays on the slow learner, in [0, 1].
        warmup: Whether the decay of step k, counted from 0, is at most `1 - 1 / (k + 1)`.

    Attributes:
        weights: Name -> tensor, for `run.at`.
    """

    def __init__(self, run: "Run", *, decay: float, warmup: bool = False) -> None:
        self.weights = run.weights()
        self._run, self._decay, self._warmup, self._steps = run, decay, warmup, 0

    @torch.no_grad()
    def follow(self) -> None:
        """One step behind the learner."""
        decay = min(self._decay, 1 - 1 / (self._steps + 1)) if self._warmup else self._decay
        self._move(decay)
        self._steps += 1

    def result(self) -> Result:
        """What a checkpoint of it holds."""
        return self.weights

    def state(self) -> State:
        """Weights and number of steps."""
        return {"weights": self.weights, "steps": self._steps}

    def restore(self, state: State) -> None:
        """Take up what `state` gave."""
        self.weights = {name: value.to(self.weights[name].device) for name, value in state["weights"].items()}
        self._steps = state["steps"]

    def copied(self) -> State:
        """The state, which later steps leave alone."""
        return {**self.state(), "weights": {name: value.clone() for name, value in self.weights.items()}}

    def _move(self, decay: float) -> None:
        """All tensors in one fused operation."""
        fast = list(self._run.learner.weights.values())
        torch._foreach_lerp_(list(self.weights.values()), fast, 1 - decay)  # type: ignore[reportPrivateImportUsage]


class SlowUpdates(SlowLearner):
    """`dW_slow_k = decay dW_slow_{k-1} + (1 - decay) dW_fast_k`, held as one pair of factors a module.

    The sum is exact by concatenation, `[B_slow B_fast] [decay A_slow ; (1 - decay) A_fast]`; every `truncate_every`
    steps, and for a checkpoint, it gives way to the nearest pair of rank `rank` (QR of both factors, SVD of what is
    between them; Eckart and Young 1936). In between the rank is at most `rank + truncate_every * r`. Heads are averaged
    as tensors.

    Args:
        method: The method, for messages.
        run: The run.
        decay: Weight that stays, in [0, 1].
        warmup: As in `SlowLearner`.
        rank: Of the slow learner; None takes twice that of the fast one.
        truncate_every: Steps between truncations.

    Raises:
        RunError: If the learner is not plain LoRA.
    """

    def __init__(
        self,
        method: Sequential,
        run: "Run",
        *,
        decay: float,
        warmup: bool = False,
        rank: int | None = None,
        truncate_every: int = 1,
    ) -> None:
        super().__init__(run, decay=decay, warmup=warmup)
        self._pairs = lora_pairs(method, run)
        self._rank, self._every = rank, truncate_every

    def result(self) -> Result:
        """A point of LoRA factors of the slow learner's rank."""
        heads = self.weights.keys() - {name for pair in self._pairs for name in (pair.down, pair.up)}
        point = self._run.point({name: self.weights[name] for name in heads}, name="slow")
        updates = {}
        for pair in self._pairs:
            up, down = self._nearest(pair)
            updates[pair.parameter] = Update.of(LowRank(up.cpu(), down.cpu(), pair.scaling))
        return with_updates(point, updates)

    def _move(self, decay: float) -> None:
        """Both learners' factors side by side, truncated in turn."""
        fast = self._run.learner.weights
        truncate = (self._steps + 1) % self._every == 0
        for pair in self._pairs:
            slow_up, slow_down = self.weights[pair.up], self.weights[pair.down]
            up = torch.cat([slow_up, fast[pair.up]], dim=1)  # [out, R + r]
            down = torch.cat([decay * slow_down, (1 - decay) * fast[pair.down]])  # [R + r, in]
            self.weights.update({pair.up: up, pair.down: down})
            if truncate:
                self.weights.update(zip((pair.up, pair.down), self._nearest(pair), strict=True))
        factors = {name for pair in self._pairs for name in (pair.down, pair.up)}
        for name in self.weights.keys() - factors:
            self.weights[name].lerp_(fast[name], 1 - decay)

    def _nearest(self, pair: Pair) -> tuple[torch.Tensor, torch.Tensor]:
        """The nearest factors of a module that have the slow learner's rank."""
        return nearest_pair(self.weights[pair.up], self.weights[pair.down], self._rank or 2 * pair.rank)


def slow_learner(
    method: Sequential,
    run: "Run",
    *,
    average: Average,
    decay: float,
    warmup: bool,
    rank: int | None,
    truncate_every: int,
) -> SlowLearner:
    """The moving average that a method's settings of these names ask for.

    Raises:
        RunError: If a setting cannot be used.
    """
    method.check("decay", "a number from 0 to 1", holds=0 <= decay <= 1)
    method.check("average", "factors or weights", holds=average in Average.__args__)
    method.check("slow_rank", "1 or more", holds=rank is None or rank > 0)
    method.check("truncate_every", "1 or more", holds=truncate_every > 0)
    if average == "factors":
        method.check("slow_rank", 'none, beside average="factors"', holds=rank is None)
        method.check("truncate_every", '1, beside average="factors"', holds=truncate_every == 1)
        return SlowLearner(run, decay=decay, warmup=warmup)
    return SlowUpdates(method, run, decay=decay, warmup=warmup, rank=rank, truncate_every=truncate_every)
