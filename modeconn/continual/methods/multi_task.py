"""All tasks at once: the upper bound of every comparison."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from modeconn.continual.methods.method import Sequential


@dataclass
class MultiTask(Sequential):
    """The examples of all tasks in one shuffled stream, `L = sum of nats of all tasks / tokens of all tasks`.

    There is one checkpoint, after the last task, and the score matrix has rows 0 and N; the others are missing, and
    with them forgetting and transfer. A task counts with its number of tokens: `num_train_epochs` passes over all.
    """

    name: ClassVar[str] = "multi-task"

    def stages(self, num_tasks: int) -> Sequence[Sequence[int]]:
        """One, of all tasks."""
        return [list(range(1, num_tasks + 1))]
