"""Experience replay: a sample of past examples joins every step."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

import torch

from modeconn.continual.buffer import Policy, ReplayBuffer
from modeconn.continual.methods.method import Sequential, State

if TYPE_CHECKING:
    from modeconn.continual.run import Run
    from modeconn.models.encoded import EncodedTask
    from modeconn.tasks.rows import Row


@dataclass
class Replay(Sequential):
    """Experience replay (Chaudhry 2019, arXiv 1902.10486): cross-entropy on the task's batch and on memory, as one.

    `L = sum of nats over both / tokens of both`. The buffer is filled with a task's examples when the task ends.

    Attributes:
        buffer_size: Examples that the buffer holds.
        buffer_policy: "reservoir", "ring", "balanced" or "class-balanced", see `ReplayBuffer`. An example's class is
            its answer, the same in all tasks; of a task with free answers all examples are one class.
        buffer_tokens: Tokens that it holds, where these are limited, too.
        memory_batch_size: Examples of the buffer that join a step; None takes as many as the task's own.
    """

    buffer_size: int = 500
    buffer_policy: Policy = "reservoir"
    buffer_tokens: int | None = None
    memory_batch_size: int | None = None
    buffer: ReplayBuffer = field(init=False, repr=False, compare=False)
    _classes: dict[object, int] = field(init=False, repr=False, compare=False)  # a class -> its number

    name: ClassVar[str] = "replay"

    def start(self, run: "Run") -> Self:
        """With an empty buffer."""
        mine = super().start(run)
        mine.check("buffer_policy", f"one of {', '.join(Policy.__args__)}", holds=mine.buffer_policy in Policy.__args__)
        mine.check("memory_batch_size", "1 or more", holds=mine.memory_batch_size is None or mine.memory_batch_size > 0)
        expected = f"at least the {mine.num_replayed} examples that join a step"
        mine.check("buffer_size", expected, holds=mine.buffer_size >= mine.num_replayed)
        least = mine.num_replayed * mine._longest()
        held = mine.buffer_tokens is None or mine.buffer_tokens >= least
        mine.check("buffer_tokens", f"at least {least}, for the longest examples that may join a step", holds=held)
        mine.buffer = mine.new_buffer(run.settings.seed)
        found = [mine._class(task, row) for task, split in enumerate(run.train_sets) for row in split.rows.rows]
        mine._classes = {one: number for number, one in enumerate(dict.fromkeys(found))}
        return mine

    def new_buffer(self, seed: int) -> ReplayBuffer:
        """An empty buffer."""
        return ReplayBuffer(self.buffer_size, self.buffer_policy, seed=seed, max_tokens=self.buffer_tokens)

    @property
    def num_replayed(self) -> int:
        """Examples of the buffer that join a step."""
        return self.memory_batch_size or self.run.settings.examples_a_step

    def replayed(self) -> "Sequence[tuple[EncodedTask, int]]":
        """A draw from the buffer."""
        return [(self.run.train_sets[task], row) for task, row in self.buffer.sample(self.num_replayed)]

    def end_task(self, number: int) -> None:
        """The task's examples go by the buffer."""
        self.fill(self.buffer, number)

    def fill(self, buffer: ReplayBuffer, number: int) -> None:
        """The examples of task `number`, counted from 1, go by a buffer in a random order."""
        rows = self.run.train_sets[number - 1].rows.rows
        generator = torch.Generator().manual_seed(self.run.settings.seed * 1_000_003 + number)
        for row in torch.randperm(len(rows), generator=generator).tolist():
            group = self._classes[self._class(number - 1, rows[row])]
            buffer.add((number - 1, row), self.run.family.length(rows[row]), group=group)

    def _class(self, task: int, row: "Row") -> object:
        """The answer of a row, or the task (counted from 0) where answers are free."""
        return row.targets if self.run.train_sets[task].metric == "accuracy" else task

    def _longest(self) -> int:
        """The tokens of the longest example of all tasks."""
        return max(self.run.family.length(row) for split in self.run.train_sets for row in split.rows.rows)

    def state(self) -> State:
        """The buffer."""
        return {"buffer": self.buffer.state()}

    def restore(self, state: State) -> None:
        """Take up the buffer."""
        self.buffer.restore(state["buffer"])
