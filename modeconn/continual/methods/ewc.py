"""Elastic weight consolidation: what mattered to earlier tasks is held by springs."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Self, get_args

import torch

from modeconn.continual.fisher import example_losses, fisher_diagonal
from modeconn.continual.methods.method import Sequential, State

if TYPE_CHECKING:
    from modeconn.continual.run import Run

Fisher = Literal["true", "empirical"]
Tensors = dict[str, torch.Tensor]


@dataclass
class EWC(Sequential):
    """Elastic weight consolidation (Kirkpatrick 2017, arXiv 1612.00796).

    `L = cross-entropy + penalty_weight / 2 * sum over earlier tasks k, weights p of F_kp (theta_p - theta_kp)^2`

    with `theta_k` the weights after task k and `F_k` the diagonal of the Fisher information there, of the loss of one
    example in nats. Two tensors a weight are kept of every task. The springs hold the adapter's own tensors: for the
    factors of LoRA they depend on the gauge.

    Attributes:
        penalty_weight: Of the springs, 400 in the paper's Atari runs; what serves depends on the sizes of gradients.
        num_fisher_examples: Examples of a task that its Fisher information is the mean over, drawn at random.
        fisher: "true" draws the answers from the model, "empirical" takes the given ones.
    """

    penalty_weight: float = 400.0
    num_fisher_examples: int = 100
    fisher: Fisher = "true"

    name: ClassVar[str] = "ewc"
    _springs: list[tuple[Tensors, Tensors]] = field(init=False, repr=False, compare=False)  # F_k, theta_k

    def start(self, run: "Run") -> Self:
        """Without springs."""
        mine = super().start(run)
        mine.check("penalty_weight", "0 or more", holds=mine.penalty_weight >= 0)
        mine.check("num_fisher_examples", "1 or more", holds=mine.num_fisher_examples >= 1)
        mine.check("fisher", "true or empirical", holds=mine.fisher in get_args(Fisher))
        mine._springs = []
        return mine

    def weight_penalty(self) -> torch.Tensor | None:
        """The energy of all springs."""
        weights = self.run.learner.weights
        energies = [
            (fisher[name] * (weights[name] - centre[name]).square()).sum()
            for fisher, centre in self._springs
            for name in fisher
        ]
        return self.penalty_weight / 2 * torch.stack(energies).sum() if energies else None

    def end_task(self, number: int) -> None:
        """Springs at the weights as they are now."""
        self._springs.append((self.measured(number), self.run.weights()))

    def measured(self, number: int) -> Tensors:
        """The Fisher information on task `number`, counted from 1, by weight."""
        split = self.run.train_sets[number - 1]
        generator = torch.Generator().manual_seed(self.run.settings.seed * 1_000_003 + number)
        rows = torch.randperm(len(split.rows.rows), generator=generator)[: self.num_fisher_examples].tolist()
        source = generator if self.fisher == "true" else None
        return fisher_diagonal(example_losses(self.run, split, rows, source), self.run.learner.weights)

    def state(self) -> State:
        """The springs."""
        return {"springs": [[dict(fisher), dict(centre)] for fisher, centre in self._springs]}

    def restore(self, state: State) -> None:
        """Take up the springs."""
        self._springs = [(self._placed(fisher), self._placed(centre)) for fisher, centre in state["springs"]]

    def _placed(self, tensors: Tensors) -> Tensors:
        """Tensors on the model's device."""
        return {name: value.to(self.run.model.device) for name, value in tensors.items()}


@dataclass
class OnlineEWC(EWC):
    """Online elastic weight consolidation (Schwarz 2018, arXiv 1805.06370): one spring for all earlier tasks.

    `F <- decay * F + F_k` after task k, and all springs are centred at the newest weights, so that memory and time do
    not grow with the number of tasks. In the paper `decay` also weakens the spring itself, a factor that
    `penalty_weight` can hold, and each `F_k` is scaled to one size first; here tasks count with the sizes of their own.

    Attributes:
        decay: Weight that stays on the earlier tasks' information, in [0, 1].
    """

    decay: float = 1.0

    name: ClassVar[str] = "online-ewc"

    def start(self, run: "Run") -> Self:
        """Without springs."""
        mine = super().start(run)
        mine.check("decay", "a number from 0 to 1", holds=0 <= mine.decay <= 1)
        return mine

    def end_task(self, number: int) -> None:
        """One spring more or less stiff than before, at the weights as they are now."""
        fisher = self.measured(number)
        if self._springs:
            before = self._springs[0][0]
            fisher = {name: self.decay * before[name] + value for name, value in fisher.items()}
        self._springs = [(fisher, self.run.weights())]
