"""A sample of past examples, kept as references to rows that are in memory anyway."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

Policy = Literal["reservoir", "ring", "balanced"]
Reference = tuple[int, int]  # number of the task, counted from 0, and of its row


@dataclass
class ReplayBuffer:
    """At most `size` examples of the stream that went by.

    reservoir: every example of the stream is kept with the same probability (Vitter 1985, algorithm R).
    ring: every task keeps its last examples, all tasks the same number.
    balanced: the example that goes is one of the task that holds the most, drawn at random (Chrysakis 2020,
    "Online continual learning from imbalanced data", with tasks as the classes).

    Attributes:
        size: Examples that are kept.
        policy: Which stay.
        seed: Of what is kept and drawn.
        references: The examples that are kept, task and row.
        num_seen: Examples that went by.
    """

    size: int
    policy: Policy = "reservoir"
    seed: int = 0
    references: list[Reference] = field(default_factory=list)
    num_seen: int = 0

    def __post_init__(self) -> None:
        self.seen_of: Counter[int] = Counter()  # examples of every task that went by
        self._generator = torch.Generator().manual_seed(self.seed)

    def add(self, reference: Reference) -> None:
        """One more example of the stream goes by."""
        self.num_seen += 1
        self.seen_of[reference[0]] += 1
        if len(self.references) < self.size and self.policy != "ring":
            self.references.append(reference)
            return
        place = {"reservoir": self._in_reservoir, "ring": self._in_ring, "balanced": self._balanced}[self.policy]
        place(reference)

    def sample(self, count: int) -> list[Reference]:
        """`count` different examples that are kept, or all where there are fewer."""
        order = torch.randperm(len(self.references), generator=self._generator).tolist()
        return [self.references[number] for number in order[:count]]

    def state(self) -> dict[str, Any]:
        """What is kept, and where the random numbers are."""
        return {
            "references": [list(one) for one in self.references],
            "num_seen": self.num_seen,
            "seen_of": dict(self.seen_of),
            "generator": self._generator.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave."""
        self.references = [(task, row) for task, row in state["references"]]
        self.num_seen, self.seen_of = state["num_seen"], Counter(state["seen_of"])
        self._generator.set_state(state["generator"])

    def __len__(self) -> int:
        return len(self.references)

    def draw(self, below: int) -> int:
        """A whole number from 0 to below `below`."""
        return int(torch.randint(below, (1,), generator=self._generator))

    def _in_reservoir(self, reference: Reference) -> None:
        """In the place of a random one, with the probability size / num_seen."""
        place = self.draw(self.num_seen)
        if place < self.size:
            self.references[place] = reference

    def _in_ring(self, reference: Reference) -> None:
        """Behind the task's others; what is over its part of the buffer goes, the oldest first."""
        self.references.append(reference)
        tasks = Counter(task for task, _ in self.references)
        part = max(1, self.size // len(tasks))
        for task, count in tasks.items():
            for _ in range(count - part):
                self.references.remove(next(one for one in self.references if one[0] == task))
        del self.references[: max(0, len(self.references) - self.size)]

    def _balanced(self, reference: Reference) -> None:
        """In the place of a random one of the largest task; an example of that task only with its fair chance."""
        counts = Counter(task for task, _ in self.references)
        largest = max(counts, key=lambda task: (counts[task], task == reference[0]))
        if reference[0] == largest and self.draw(self.seen_of[largest]) >= counts[largest]:
            return
        places = [place for place, (task, _) in enumerate(self.references) if task == largest]
        self.references[places[self.draw(len(places))]] = reference
