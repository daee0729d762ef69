"""What a training run holds in memory: the base model, the learner, and the tasks as tokens."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from modeconn.continual.learner import Learner
from modeconn.continual.settings import TrainSettings
from modeconn.models.adapter_model import AdapterModel
from modeconn.models.encoded import Batch, EncodedTask, ExampleSums
from modeconn.models.family import IGNORED, score_batch
from modeconn.models.generating import example_sums


@dataclass(frozen=True, eq=False)
class Run:
    """One run, as methods see it.

    Attributes:
        model: The base model.
        learner: What is trained.
        settings: How.
        train_sets: The training split of every task, one row an example.
        eval_sets: The split of every task that the score matrix is measured on.
        validation_sets: The validation split of every task, where a task may end early.
    """

    model: AdapterModel
    learner: Learner
    settings: TrainSettings
    train_sets: Sequence[EncodedTask]
    eval_sets: Sequence[EncodedTask]
    validation_sets: Sequence[EncodedTask] = ()

    def batch(self, rows: Sequence[tuple[EncodedTask, int]]) -> Batch:
        """Rows, each a split and a row's number, as one batch on the model's device."""
        return self.model.collate(rows)

    def logits(self, batch: Batch) -> torch.Tensor:
        """The learner's logits at the scored positions, `[B, A, C]`."""
        return self.model.family.logits(self.learner.module, batch)

    def losses(self, batch: Batch) -> torch.Tensor:
        """The learner's losses, `[B]` in nats, summed over an answer's tokens."""
        return score_batch(self.model.family, self.learner.module, batch)[0]

    @staticmethod
    def num_tokens(batch: Batch) -> int:
        """Scored tokens of a batch, 1 an example for a classifier."""
        return int((batch.targets != IGNORED).sum())

    @contextmanager
    def at(self, weights: Mapping[str, torch.Tensor]) -> Iterator[None]:
        """The learner at other weights and in `eval()`; afterwards it is what it was, also after an error.

        No gradient may be taken of what is computed here with the weights themselves.

        Args:
            weights: Name -> tensor, for all or some of `learner.weights`.
        """
        module, own = self.learner.module, self.learner.weights
        training, kept = module.training, {name: own[name].data for name in weights}
        try:
            for name, value in weights.items():
                own[name].data = value
            module.eval()
            yield
        finally:
            for name, value in kept.items():
                own[name].data = value
            module.train(training)

    def weights(self) -> dict[str, torch.Tensor]:
        """Copies of the learner's weights."""
        return {name: weight.detach().clone() for name, weight in self.learner.weights.items()}

    @torch.no_grad()
    def load(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Set the learner's weights."""
        for name, value in weights.items():
            self.learner.weights[name].copy_(value)

    def scores(self, splits: Sequence[EncodedTask]) -> list[ExampleSums]:
        """Per-example sums of splits at the learner's present weights."""
        module = self.learner.module
        training = module.training
        try:
            module.eval()
            return [example_sums(self.model, module, split) for split in splits]
        finally:
            module.train(training)
