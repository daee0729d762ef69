"""A sample of past examples, kept as references to rows that are in memory anyway."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch

Policy = Literal["reservoir", "ring", "balanced", "class-balanced"]
Reference = tuple[int, int]  # number of the task, counted from 0, and of its row


class Held(NamedTuple):
    """An example in the buffer.

    Attributes:
        task: The number of its task, counted from 0.
        row: The number of its row.
        tokens: What it counts for.
        priority: Which goes first: that with the lowest.
        group: The number of its class.
    """

    task: int
    row: int
    tokens: int
    priority: float
    group: int = 0


@dataclass
class ReplayBuffer:
    """At most `size` examples, and `max_tokens` tokens, of the stream that went by.

    Every example gets a priority, and those with the highest stay: a random one, so that what stays of a stream is a
    random sample of it (Vitter 1985; Efraimidis 2006), or when it came.

    reservoir: every example of the stream is kept with the same probability.
    ring: every task keeps its last examples; the task that holds the most loses one.
    balanced: the same with random priorities.
    class-balanced: the same with classes in the place of tasks (Chrysakis 2020, "Online continual learning from
    imbalanced data").

    Where tokens are limited, tasks and classes are compared by their tokens, and long examples have a lower chance to
    stay.

    Attributes:
        size: Examples that are kept.
        policy: Which stay.
        seed: Of what is kept and drawn.
        max_tokens: Tokens that are kept; None for any number.
        num_seen: Examples that went by.
    """

    size: int
    policy: Policy = "reservoir"
    seed: int = 0
    max_tokens: int | None = None
    num_seen: int = 0
    _held: list[Held] = field(default_factory=list, init=False, repr=False)
    _lost: dict[int, float] = field(default_factory=dict, init=False, repr=False)  # highest priority gone, by group

    def __post_init__(self) -> None:
        self._draws = torch.Generator().manual_seed(self.seed)
        self._priorities = torch.Generator().manual_seed(self.seed)  # so that filling changes no draw

    @property
    def references(self) -> list[Reference]:
        """The examples that are kept, task and row, in the order in which they came."""
        return [(one.task, one.row) for one in self._held]

    @property
    def num_tokens(self) -> int:
        """The tokens that are kept."""
        return sum(one.tokens for one in self._held)

    def add(self, reference: Reference, tokens: int = 1, *, group: int = 0) -> None:
        """One more example of the stream goes by.

        Args:
            reference: Task and row.
            tokens: What it counts for.
            group: The number of its class.
        """
        self.num_seen += 1
        priority = float(self.num_seen) if self.policy == "ring" else self._random()
        new = Held(*reference, tokens, priority, group)
        if priority <= self._lost.get(self._group(new), -1.0):
            return  # one that had a higher chance is gone already
        self._held.append(new)
        while self._held and self._is_over():
            self._drop(self._largest(new))

    def sample(self, count: int) -> list[Reference]:
        """`count` different examples that are kept, or all where there are fewer."""
        order = torch.randperm(len(self._held), generator=self._draws).tolist()
        references = self.references
        return [references[number] for number in order[:count]]

    def draw(self, below: int) -> int:
        """A whole number from 0 to below `below`."""
        return int(torch.randint(below, (1,), generator=self._draws))

    def state(self) -> dict[str, Any]:
        """What is kept, and where the random numbers are."""
        return {
            "held": [list(one) for one in self._held],
            "lost": dict(self._lost),
            "num_seen": self.num_seen,
            "draws": self._draws.get_state(),
            "priorities": self._priorities.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave."""
        self._held = [Held(*one) for one in state["held"]]
        self._lost, self.num_seen = dict(state["lost"]), state["num_seen"]
        self._draws.set_state(state["draws"])
        self._priorities.set_state(state["priorities"])

    def __len__(self) -> int:
        return len(self._held)

    def _random(self) -> float:
        """A priority, in [0, 1)."""
        return float(torch.rand((), generator=self._priorities, dtype=torch.float64))

    def _group(self, one: Held) -> int:
        """Those that an example competes with: its task's, its class's, or all."""
        return {"reservoir": 0, "class-balanced": one.group}.get(self.policy, one.task)

    def _is_over(self) -> bool:
        """Whether there are too many examples, or tokens."""
        return len(self._held) > self.size or (self.max_tokens is not None and self.num_tokens > self.max_tokens)

    def _largest(self, new: Held) -> int:
        """The group that holds the most; of several, that of the newest example."""
        counts: Counter[int] = Counter()
        for one in self._held:
            counts[self._group(one)] += 1 if self.max_tokens is None else one.tokens
        return max(counts, key=lambda group: (counts[group], group == self._group(new)))

    def _drop(self, group: int) -> None:
        """Let the example of a group go that has the lowest priority."""
        lowest = min((one for one in self._held if self._group(one) == group), key=lambda one: one.priority)
        self._held.remove(lowest)
        self._lost[group] = max(lowest.priority, self._lost.get(group, -1.0))
