"""What a training run holds in memory: the base model, the learner, and the tasks as tokens."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.truncating import with_factors
from modeconn.continual.learner import Learner
from modeconn.continual.settings import TrainSettings
from modeconn.models.adapter_model import AdapterModel
from modeconn.models.encoded import Batch, EncodedTask, ExampleSums
from modeconn.models.family import IGNORED, Classifier, Family
from modeconn.models.generating import example_sums
from modeconn.runs.processes import Processes

if TYPE_CHECKING:
    from modeconn.continual.methods.method import Result


@dataclass(frozen=True, eq=False)
class Run:
    """One run, as methods see it.

    Attributes:
        model: The base model.
        learner: What is trained.
        settings: How.
        family: How the learner is called in training: with packed rows, or padded ones.
        train_sets: The training split of every task, or of those that are trained together, one row an example.
        eval_sets: The split of every task that the score matrix is measured on.
        validation_sets: The validation splits of the tasks in each of `train_sets`, where a task may end early.
        selection_sets: The validation split of every task, read as in evaluation, where a method chooses by it.
        processes: Those that share the run.
    """

    model: AdapterModel
    learner: Learner
    settings: TrainSettings
    family: Family
    train_sets: Sequence[EncodedTask]
    eval_sets: Sequence[EncodedTask]
    validation_sets: Sequence[Sequence[EncodedTask]] = ()
    selection_sets: Sequence[EncodedTask] = ()
    processes: Processes = field(default_factory=Processes)

    def batch(self, rows: Sequence[tuple[EncodedTask, int]]) -> Batch:
        """Rows, each a split and a row's number, as one batch on the model's device.

        Each counts as an example of its own: those of two tasks may have one number and one prompt, and packed as
        choices of one example they would share the prompt, which a mean over positions would then count once.
        """
        chosen = [replace(split.rows.rows[row], example=number) for number, (split, row) in enumerate(rows)]
        batch = self.family.collate(chosen, self.model.pad_id)
        if isinstance(self.family, Classifier) and any(row.allowed is not None for row in chosen):
            allowed = torch.zeros(len(chosen), len(self.family.labels), dtype=torch.bool)
            for mine, row in zip(allowed, chosen, strict=True):
                mine[... if row.allowed is None else list(row.allowed)] = True
            batch = replace(batch, allowed=allowed)
        return batch.to(self.model.device)

    def logits(self, batch: Batch) -> torch.Tensor:
        """The learner's logits at the scored positions, `[B, A, C]`, in bf16 where the settings ask for it."""
        with self.autocast():
            return self.family.logits(self.learner.module, batch)

    def losses(self, batch: Batch, logits: torch.Tensor | None = None) -> torch.Tensor:
        """The learner's losses, `[B]` in nats, summed over an answer's tokens, or among the row's own classes.

        Args:
            batch: The batch.
            logits: What `logits` gave for it; by default they are worked out.
        """
        logits = self.logits(batch) if logits is None else logits  # [B, A, C]
        wide = among_allowed(logits if logits.dtype == torch.float64 else logits.float(), batch)
        each = functional.cross_entropy(
            wide.transpose(1, 2), batch.targets, ignore_index=IGNORED, reduction="none"
        )  # [B, A]
        return each.sum(1)

    def autocast(self) -> torch.autocast:
        """The context of a forward pass in training: bf16 where the settings ask for it."""
        return torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.settings.bf16)

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

    @contextmanager
    def module_at(self, result: "Result") -> Iterator[nn.Module]:
        """A module that is what a checkpoint of `result` would be; afterwards all is what it was."""
        if isinstance(result, Adapter):
            with self.model.at(result) as module:
                yield module
        else:
            with self.at(result or {}):
                yield self.learner.module

    def save(self, result: "Result", folder: Path) -> None:
        """Write a checkpoint: a point as one exact adapter, weights as the learner writes its own."""
        if isinstance(result, Adapter):
            with_factors(result, lambda: self.model).save_pretrained(folder)  # type: ignore[arg-type, return-value]
            return
        with self.at(result or {}):
            self.learner.save(folder)

    def point(self, weights: Mapping[str, torch.Tensor] | None = None, *, name: str = "learner") -> Adapter:
        """The learner as a point, read as its checkpoint is: against the original base.

        Args:
            weights: For all or some of `learner.weights`; the others are as they are.
            name: How messages call it.
        """
        with TemporaryDirectory() as folder:
            self.save(weights, Path(folder) / name)
            return replace(Adapter.from_pretrained(Path(folder) / name, allow_zero=True), source=None)

    def weights(self) -> dict[str, torch.Tensor]:
        """Copies of the learner's weights."""
        return {name: weight.detach().clone() for name, weight in self.learner.weights.items()}

    @torch.no_grad()
    def load(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Set the learner's weights."""
        for name, value in weights.items():
            self.learner.weights[name].copy_(value)

    def scores(self, splits: Sequence[EncodedTask]) -> list[ExampleSums]:
        """Per-example sums of splits at the learner's present weights; every process scores some of the batches."""
        module = self.learner.module
        training = module.training
        try:
            module.eval()
            return [example_sums(self.model, module, split, share=self.processes.share) for split in splits]
        finally:
            module.train(training)


def among_allowed(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Logits `[B, A, C]` that give no probability to classes that may not be a row's answer."""
    return logits if batch.allowed is None else logits.masked_fill(~batch.allowed[:, None], -torch.inf)
