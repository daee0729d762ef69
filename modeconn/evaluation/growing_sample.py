"""A task of which more and more examples are known, drawn at random."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from modeconn.evaluation.gate import LossesNotFinite
from modeconn.evaluation.outputs import with_outputs
from modeconn.evaluation.profile import Profile
from modeconn.tasks.task import Task


@dataclass
class GrowingSample:
    """A task whose examples are evaluated in parts, in a random order.

    Attributes:
        task: The whole task.
        split: The split that is evaluated.
        order: `[N]`, the examples in the order in which they are taken.
        sizes: `[K]`, how many are known after each look.
        profiles: What was seen, one a look; other tasks may be in them.
    """

    task: Any
    split: str
    order: np.ndarray
    sizes: Sequence[int]
    profiles: list[Profile] = field(default_factory=list)

    def next_part(self) -> Any:  # noqa: ANN401
        """The task with the examples of the next look only, in their own order."""
        return with_examples(self.task, self.split, self.numbers(len(self.profiles)))

    def numbers(self, look: int) -> np.ndarray:
        """The examples that a look adds, increasing."""
        start = self.sizes[look - 1] if look else 0
        return np.sort(self.order[start : self.sizes[look]])

    @property
    def num_truncated(self) -> int:
        """Prompts that were cut, of the examples of all looks."""
        cut = [own["truncated_examples"] for profile in self.profiles for own in profile.checks.values()]
        return sum(counts[self.task.name] for counts in cut)

    def so_far(self) -> Profile:
        """The examples of all looks as one profile of this task, each under its number in the whole split."""
        name = self.task.name
        parts = []
        for look, profile in enumerate(self.profiles):
            own = of_task(with_outputs(profile.examples, profile.outputs), name)
            parts.append(own.assign(example=self.numbers(look)[own["example"].to_numpy()]))
        examples = pd.concat(parts, ignore_index=True).sort_values(["t", "example"], ignore_index=True)
        own = of_task(self.profiles[0].frame, name)
        return Profile.from_examples(
            examples,
            space=own["space"].iloc[0],
            split=self.split,
            metrics={name: own["metric"].iloc[0]},
            distances=dict(zip(own["t"], own["distance"], strict=True)),
        )


def in_whole_split(error: LossesNotFinite, growing: Sequence[GrowingSample]) -> LossesNotFinite:
    """The error of a look with the examples' numbers in the whole split, which is where users look for them."""
    for one in growing:
        if one.task.name == error.task:
            return error.renumbered(one.numbers(len(one.profiles)))
    return error


def with_examples(task: Any, split: str, numbers: np.ndarray) -> Any:  # noqa: ANN401
    """A task with some examples of one split, and no other split.

    Args:
        task: A `Task` or a `TensorTask`.
        split: The split.
        numbers: The examples' numbers, in the order in which they are wanted.
    """
    whole = task.splits[split]
    part = tuple(whole[i] for i in numbers) if isinstance(task, Task) else tuple(rows[numbers] for rows in whole)
    return replace(task, splits={split: part})


def of_task(frame: pd.DataFrame, task: str) -> pd.DataFrame:
    """The rows of one task."""
    return frame.loc[(frame["task"] == task).to_numpy(), :]
