"""L2P: one pool of prompts for all tasks, of which every text chooses some by their keys."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import nn

from modeconn.adapters.methods.l2p import POOL
from modeconn.adapters.methods.prompt_pool import Choice, PromptPool
from modeconn.continual.methods.method import Sequential, State
from modeconn.errors import RunError

if TYPE_CHECKING:
    from modeconn.continual.run import Run
    from modeconn.continual.share import Share
    from modeconn.models.encoded import Batch

ADAPTER = "l2p"


@dataclass
class L2P(Sequential):
    """Learning to prompt (Wang 2022, arXiv 2112.08654), for texts.

    `L = cross-entropy behind the chosen prompts + key_weight * mean over texts of sum_{chosen i} (1 - cos(q(x), k_i))`

    where `q(x)` is the mean of the base's last hidden states over the text, never over its answer, and the N prompts
    are chosen that have the lowest `1 - cos(q(x), k_i)`. Cross-entropy trains them, and a head; the second term trains
    their keys. The size of the pool, N and the length of a prompt are settings of the adapter (`L2PConfig`).

    With `spread_tasks` the distances are multiplied, in training only, by `h_i`, how often prompt i was chosen in the
    earlier tasks, as a part of all choices: a new task turns to prompts that were not used. Every text chooses for
    itself; public code lets a batch vote, so that its scores depend on the batch. Where queries are nearly parallel, as
    means of hidden states of texts often are, all texts choose alike: `chosen_prompts` in run.json tells.

    Attributes:
        key_weight: Weight of the keys' distances, lambda in the paper.
        spread_tasks: Whether prompts of earlier tasks are avoided; the paper's option for tasks that are far apart.
    """

    key_weight: float = 0.5
    spread_tasks: bool = False

    name: ClassVar[str] = "l2p"
    _made: list[Choice] = field(init=False, repr=False, compare=False)  # by the batch that the learner reads
    _stepped: torch.Tensor = field(init=False, repr=False, compare=False)  # [M], choices of a step
    _chosen: list[torch.Tensor] = field(init=False, repr=False, compare=False)  # [M] a task

    def start(self, run: "Run") -> Self:
        """With a pool that nobody chose from."""
        mine = super().start(run)
        mine.check("key_weight", "0 or more", holds=mine.key_weight >= 0)
        if run.settings.adapter != ADAPTER:
            raise RunError(
                f"the training method {mine.name} trains a pool of prompts",
                expected=f"--adapter {ADAPTER}",
                got=run.settings.adapter,
                remedy=f"train with --adapter {ADAPTER}, or with another --method",
            )
        mine._made, mine._chosen = [], []
        mine._stepped = mine._none
        mine._pool.register_forward_hook(mine._note)
        return mine

    def start_task(self, number: int) -> None:  # noqa: ARG002
        """What was chosen so far is avoided, if asked to."""
        self._chosen.append(self._none)
        self._avoid_earlier()

    def batch_penalty(
        self,
        batch: "Batch",  # noqa: ARG002
        logits: torch.Tensor,  # noqa: ARG002
        *,
        replayed: bool,  # noqa: ARG002
        share: "Share",
    ) -> torch.Tensor | None:
        """The distances of the keys that were chosen for the batch's texts."""
        made, self._made = self._made, []
        for choice in made:
            places = choice.places.flatten().cpu()
            self._stepped += torch.bincount(places, minlength=len(self._stepped))
        distances = torch.cat([choice.distances for choice in made])  # [B, N]
        return self.key_weight * share.rows * distances.sum(1).mean()

    def after_step(self) -> None:
        """Count the step's choices, those of all processes."""
        (counts,) = self.run.processes.summed([self._stepped])
        self._chosen[-1] = self._chosen[-1] + counts
        self._stepped = self._none

    def facts(self) -> dict[str, Any]:
        """How often every prompt was chosen in training, task by task."""
        return {"chosen_prompts": [[int(count) for count in counts] for counts in self._chosen]}

    def state(self) -> State:
        """The choices of every task."""
        return {"chosen": list(self._chosen)}

    def restore(self, state: State) -> None:
        """Take them up."""
        self._chosen = list(state["chosen"])
        self._avoid_earlier()

    @property
    def _pool(self) -> PromptPool:
        """The learner's pool."""
        return self.run.learner.module.peft_model.get_base_model().get_submodule(POOL)  # type: ignore[return-value]

    @property
    def _none(self) -> torch.Tensor:
        """No choice of any prompt, `[M]`."""
        return torch.zeros(len(self._pool.l2p_keys["default"]))

    def _avoid_earlier(self) -> None:
        """Set the pool's penalty to the part of each prompt in the choices of earlier tasks, `h`."""
        earlier = self._chosen[:-1]
        if self.spread_tasks and earlier:
            counts = torch.stack(earlier).sum(0)
            self._pool.penalty = counts / counts.sum()

    def _note(self, pool: nn.Module, inputs: Any, output: Choice) -> None:  # noqa: ANN401
        """A forward hook: keep what was chosen in training."""
        del inputs
        if pool.training:
            self._made.append(output)
