"""The steps on one task: which rows, the optimiser and its schedule, early stopping."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from transformers import get_scheduler

from modeconn.continual.run import Run
from modeconn.errors import EvaluationError
from modeconn.tasks.batching import shuffled_batches
from modeconn.tasks.encoding import EncodingSettings

if TYPE_CHECKING:
    from modeconn.continual.methods.method import Sequential


class TaskWork:
    """One task's share of a run, decided by the seed and the task's number alone.

    Args:
        run: Model, learner and tasks.
        number: The task, counted from 1.
    """

    def __init__(self, run: Run, number: int) -> None:
        settings = run.settings
        self.run, self.data = run, run.train_sets[number - 1]
        learning_rate, num_epochs = settings.for_task(number, len(run.train_sets))
        seed = settings.seed * 1_000_003 + number
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)  # dropout
        lengths = [run.model.family.length(row) for row in self.data.rows.rows]
        epochs = [shuffled_batches(lengths, settings.examples_a_step, generator) for _ in range(num_epochs)]
        self._plan, self._epoch = [rows for epoch in epochs for rows in epoch], len(epochs[0])
        self._weights, self._norm = list(run.learner.weights.values()), torch.zeros(())
        self._optimizer = torch.optim.AdamW(self._weights, lr=learning_rate, weight_decay=settings.weight_decay)
        warmup = int(settings.warmup_ratio * self.num_steps)
        self._schedule = get_scheduler(settings.lr_scheduler_type, self._optimizer, warmup, self.num_steps)
        self._best: dict[str, Any] = {"loss": float("inf"), "epochs_since": 0, "weights": {}}
        self._validation = run.validation_sets[number - 1] if settings.early_stopping_patience else None

    @property
    def num_steps(self) -> int:
        """Steps if the task is not ended early."""
        return len(self._plan)

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self._schedule.get_last_lr()[0])

    def rows(self, step: int) -> list[int] | None:
        """The rows of a step, None where the task has ended."""
        patience = self.run.settings.early_stopping_patience
        ended = patience and self._best["epochs_since"] >= patience
        return None if ended or step >= self.num_steps else self._plan[step]

    def update(self) -> None:
        """One step of the optimiser on the gradients that are there."""
        self._norm = torch.nn.utils.clip_grad_norm_(self._weights, self.run.settings.max_grad_norm)
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad()

    def check_step(self, parts: Mapping[str, float], step: int) -> None:
        """Raise if a part of a step's loss, or its gradient, is not finite.

        Raises:
            EvaluationError: With the task and the step.
        """
        check_finite({**parts, "gradient norm": float(self._norm)}, self.data.task, step)

    @torch.no_grad()
    def check_end(self, step: int) -> None:
        """Raise if the loss is not finite after a task's last step, which no further step would tell.

        Raises:
            EvaluationError: With the task and the step.
        """
        rows = self._plan[-1][: self.run.settings.per_device_train_batch_size]
        with self.run.autocast():
            losses = self.run.losses(self.run.batch([(self.data, row) for row in rows]))
        check_finite({"loss": float(losses.sum())}, self.data.task, step, when="after")

    def end_step(self, step: int, method: "Sequential") -> None:
        """Measure the learner's validation loss if an epoch has ended."""
        if self._validation is None or step % self._epoch:
            return
        sums = self.run.scores(self._validation)  # each split among its own classes, where training is
        loss = float(sum(one.loss_sum.sum() for one in sums) / sum(one.num_tokens.sum() for one in sums))
        if loss < self._best["loss"]:
            self._best = {
                "loss": loss,
                "epochs_since": 0,
                "weights": self.run.weights(),
                "method": method.best_so_far(),
            }
        else:
            self._best["epochs_since"] += 1

    def take_best(self, method: "Sequential") -> None:
        """Set the weights, and what follows them, to those of the lowest validation loss, if it was measured."""
        if self._best["weights"]:
            self.run.load(self._best["weights"])
            method.go_back(self._best["method"])

    def state(self) -> dict[str, Any]:
        """Optimiser, schedule, random numbers, early stopping."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {
            "optimizer": self._optimizer.state_dict(),
            "schedule": {key: value for key, value in self._schedule.state_dict().items() if key != "lr_lambdas"},
            "random": torch.get_rng_state(),
            "random_cuda": cuda,
            "best": self._best,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict({**state["schedule"], "lr_lambdas": [None]})
        torch.set_rng_state(state["random"])
        if state["random_cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["random_cuda"])
        self._best = state["best"]


def check_finite(parts: Mapping[str, float], task: str, step: int, *, when: str = "at") -> None:
    """Raise if a part of a step's loss is not finite.

    Raises:
        EvaluationError: With the task and the step.
    """
    bad = [f"{name} {value}" for name, value in parts.items() if not abs(value) < float("inf")]
    if bad:
        raise EvaluationError(
            f"the training loss on {task} is not finite",
            expected="numbers",
            got=f"{', '.join(bad)} {when} step {step}",
            remedy="lower --learning-rate; checkpoints of earlier tasks are kept",
        )


def training_encoding(settings: Any) -> EncodingSettings:  # noqa: ANN401  (TrainSettings)
    """How training rows are made: one an example."""
    return EncodingSettings(
        max_length=settings.max_length,
        score_eos=settings.score_eos,
        separator=settings.separator,
        all_choices=False,
        generate=False,
        mask_labels=settings.train_mask_labels,
    )
