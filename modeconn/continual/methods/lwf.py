"""Learning without forgetting: the model before a task teaches the model that learns it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch.nn import functional

from modeconn.continual.methods.method import Sequential, State
from modeconn.models.family import IGNORED, Classifier

if TYPE_CHECKING:
    from modeconn.continual.run import Run
    from modeconn.continual.share import Share
    from modeconn.models.encoded import Batch


@dataclass
class LwF(Sequential):
    """Learning without forgetting (Li 2016, arXiv 1606.09282): no example of an earlier task is kept.

    `L = cross-entropy + distillation_weight * KL(p_before || p)` on the task's own batch, where both probabilities are
    softmax(logits / temperature), and the mean is over scored positions. `p_before` is the model's as it was before the
    task, without dropout. Classifiers compare the classes of earlier tasks only, models that write the whole
    vocabulary; where each task is trained on its own classes (`train_mask_labels`), the second term is a sum over the
    earlier tasks, each among its own. In the paper it is a cross-entropy, whose gradient is the same.

    Attributes:
        distillation_weight: Weight of the second term; 1 in the paper.
        temperature: Above 1 small probabilities count more; 2 in the paper.
    """

    distillation_weight: float = 1.0
    temperature: float = 2.0

    name: ClassVar[str] = "lwf"
    _before: dict[str, torch.Tensor] = field(init=False, repr=False, compare=False)
    # Those of earlier tasks that share all probability; one group of all where there is none.
    _classes: list[list[int]] = field(init=False, repr=False, compare=False)

    def start(self, run: "Run") -> Self:
        """Without a teacher: there is none in the first task."""
        mine = super().start(run)
        mine.check("distillation_weight", "0 or more", holds=mine.distillation_weight >= 0)
        mine.check("temperature", "a number above 0", holds=mine.temperature > 0)
        mine._before, mine._classes = {}, []
        return mine

    def start_task(self, number: int) -> None:
        """The model as it is now teaches from the second task on."""
        if number == 1:
            return
        self._before = self.run.weights()
        if isinstance(self.run.model.family, Classifier):
            rows = [split.rows.rows for split in self.run.train_sets[: number - 1]]
            own = {row.allowed for several in rows for row in several if row.allowed is not None}
            earlier = {row.targets[0] for several in rows for row in several}
            self._classes = [list(one) for one in sorted(own)] or [sorted(earlier)]

    def batch_penalty(
        self, batch: "Batch", logits: torch.Tensor, *, replayed: bool, share: "Share"
    ) -> torch.Tensor | None:
        """The distance of the teacher's answers on the task's rows."""
        if replayed or not (self._before and self.distillation_weight):
            return None
        with torch.no_grad(), self.run.at(self._before):
            taught = self.run.logits(batch)
        scored = batch.targets != IGNORED  # [B, A]
        pair = [one[scored].float() for one in (logits, taught)]  # [S, C] each
        parts = [[one[:, classes] for one in pair] for classes in self._classes] or [pair]
        distances = [distillation(*part, temperature=self.temperature) for part in parts]
        return self.distillation_weight * share.targets * torch.stack(distances).sum()

    def state(self) -> State:
        """The teacher."""
        return {"before": self._before, "classes": self._classes}

    def restore(self, state: State) -> None:
        """Take up the teacher."""
        self._before = {name: value.to(self.run.model.device) for name, value in state["before"].items()}
        self._classes = state["classes"]


def distillation(logits: torch.Tensor, taught: torch.Tensor, *, temperature: float) -> torch.Tensor:
    """`KL(softmax(taught / T) || softmax(logits / T))`, the mean over positions, `[]` in nats.

    Args:
        logits: `[S, C]`, with gradients.
        taught: `[S, C]`.
        temperature: T.
    """
    mine, other = ((one / temperature).log_softmax(-1) for one in (logits, taught))
    return functional.kl_div(mine, other, log_target=True, reduction="batchmean")
