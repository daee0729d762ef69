"""MC-SGD: after each task, a point with low loss on the lines to the former result and to the new checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch

from modeconn.continual.methods.method import Result, Sequential, State

if TYPE_CHECKING:
    from modeconn.continual.run import Run
    from modeconn.models.encoded import EncodedTask

Weights = dict[str, torch.Tensor]
Rows = list[tuple["EncodedTask", int]]


@dataclass
class MCSGD(Sequential):
    """Mode connectivity SGD (Mirzadeh 2020, arXiv 2010.04495), in the learner's tensors.

    Training goes on sequentially, `w^_1, w^_2, ...`. After task t, from the second, the result is

        w~_t = argmin_w  sum_{a in A} L_{1..t-1}(w~_{t-1} + a (w - w~_{t-1})) + L_t(w^_t + a (w - w^_t))

    with `A = {1/n, ..., 1}`, both losses in nats per token on remembered examples. The gradient is that of this sum:
    public code leaves out the factor a of the chain rule. The sum is divided by n, and minimised by AdamW without
    weight decay in the place of SGD with momentum, whose published rates are those of whole networks.

    Attributes:
        examples_per_task: Training examples that are remembered of every task (100 in public code).
        num_line_points: n, positions on each line (5 and 10 in public code).
        start_position: Where w starts on the line from the former result to the new checkpoint, in [0, 1].
        line_steps: Steps after each task.
        line_learning_rate: Their learning rate; None takes the task's.
        line_batch_size: Remembered examples of either sort in a step.
    """

    examples_per_task: int = 100
    num_line_points: int = 5
    start_position: float = 0.5
    line_steps: int = 50
    line_learning_rate: float | None = None
    line_batch_size: int = 32

    name: ClassVar[str] = "mc-sgd"
    _result: Weights = field(init=False, repr=False, compare=False)
    _line_losses: list[list[float]] = field(init=False, repr=False, compare=False)

    def start(self, run: "Run") -> Self:
        """With no result yet."""
        mine = super().start(run)
        for name in ("examples_per_task", "num_line_points", "line_steps", "line_batch_size"):
            mine.check(name, "1 or more", holds=getattr(mine, name) > 0)
        mine.check("start_position", "a number from 0 to 1", holds=0 <= mine.start_position <= 1)
        rate = mine.line_learning_rate
        mine.check("line_learning_rate", "a number above 0", holds=rate is None or rate > 0)
        mine._result, mine._line_losses = {}, []
        return mine

    def end_task(self, number: int) -> None:
        """Find the point between."""
        newest = self.run.weights()
        self._result = self._connected(newest, number) if number > 1 else newest

    def result(self) -> Result:
        """The point between."""
        return self._result

    def others(self) -> Mapping[str, Result]:
        """The learner as it is."""
        return {"newest": None}

    def other_results(self) -> tuple[str, ...]:
        """The learner as it is."""
        return ("newest",)

    def facts(self) -> dict[str, Any]:
        """The mean loss over both lines at the first and the last step after each task from the second."""
        return {"line_losses": self._line_losses}

    def state(self) -> State:
        """The result; what is remembered follows from the seed."""
        return {"result": self._result, "line_losses": self._line_losses}

    def restore(self, state: State) -> None:
        """Take it up."""
        self._result = {name: value.to(self.run.model.device) for name, value in state["result"].items()}
        self._line_losses = [list(pair) for pair in state["line_losses"]]

    def _connected(self, newest: Weights, number: int) -> Weights:
        """The minimiser, after `line_steps` steps."""
        point = {name: torch.lerp(old, newest[name], self.start_position) for name, old in self._result.items()}
        task_rate = self.run.settings.for_task(number, len(self.run.train_sets))[0]
        optimizer = torch.optim.AdamW(point.values(), lr=self.line_learning_rate or task_rate, weight_decay=0.0)
        past = [row for task in range(1, number) for row in self._remembered(task)]
        generator = torch.Generator().manual_seed(self.run.settings.seed * 1_000_003 + number)
        losses = []
        for _ in range(self.line_steps):
            lines = [
                (anchor, self._drawn(rows, generator))
                for anchor, rows in ((self._result, past), (newest, self._remembered(number)))
            ]
            losses.append(self._line_gradients(point, lines))
            optimizer.step()
        self._line_losses.append([losses[0], losses[-1]])
        return point

    def _line_gradients(self, point: Weights, lines: Sequence[tuple[Weights, Rows]]) -> float:
        """Set `grad` of the point's tensors to that of the mean loss over all positions of both lines; returns it."""
        total = 0.0
        for value in point.values():
            value.grad = torch.zeros_like(value)
        for anchor, rows in lines:
            batch = self.run.batch(rows)
            tokens = self.run.num_tokens(batch)
            for k in range(1, self.num_line_points + 1):
                a = k / self.num_line_points
                between = {name: torch.lerp(value, point[name], a) for name, value in anchor.items()}
                with self.run.at(between):
                    loss = self.run.losses(batch).sum() / tokens / self.num_line_points
                    gradients = torch.autograd.grad(loss, list(self.run.learner.weights.values()), allow_unused=True)
                for name, gradient in zip(self.run.learner.weights, gradients, strict=True):
                    if gradient is not None:
                        point[name].grad.add_(gradient, alpha=a)  # type: ignore[union-attr]
                total += loss.item()
        return total / len(lines)

    def _remembered(self, number: int) -> Rows:
        """The remembered rows of task `number`: a random choice that only the seed and the number decide."""
        split = self.run.train_sets[number - 1]
        generator = torch.Generator().manual_seed(self.run.settings.seed * 1_000_003 + number)
        order = torch.randperm(len(split.rows.rows), generator=generator)[: self.examples_per_task]
        return [(split, row) for row in order.tolist()]

    def _drawn(self, rows: Rows, generator: torch.Generator) -> Rows:
        """A batch of rows."""
        order = torch.randperm(len(rows), generator=generator)[: self.line_batch_size]
        return [rows[place] for place in order.tolist()]
