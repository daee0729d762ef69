"""Dark experience replay: past examples come back with what the model said of them then."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Self, get_args

import torch

from modeconn.continual.buffer import Reference, ReplayBuffer
from modeconn.continual.logits import StoredLogits, logit_distance, stored_logits
from modeconn.continual.methods.method import State
from modeconn.continual.methods.replay import Replay
from modeconn.models.family import IGNORED

if TYPE_CHECKING:
    from modeconn.continual.run import Run
    from modeconn.continual.share import Share
    from modeconn.models.encoded import Batch, EncodedTask

Source = Literal["trajectory", "end"]


@dataclass
class DERpp(Replay):
    """Dark experience replay ++ (Buzzega 2020, arXiv 2004.07211).

    `L = cross-entropy on the task's batch and on memory + logit_weight * MSE(logits, stored logits) on memory`

    where the mean is over scored positions and classes. Cross-entropy is the mean over task and memory, as in `Replay`:
    for parts of equal size alpha = 2 logit_weight and beta = 1 in the paper's words. One draw from memory serves both
    terms; the paper draws twice, and lets memory in while the task is still in work.

    Attributes:
        logit_weight: Weight of the logits' distance.
        num_logits: Logits that are kept of a scored position, the largest, and compared there; None keeps all. A buffer
            of 500 examples with answers of 10 tokens takes 40 MB at most (8 bytes a logit), while a task is learnt
            up to twice that.
        logits_from: When logits are stored. "trajectory": in a step on the example while its task is learnt, each of
            its steps with the same probability, as in the paper. "end": after the task, without dropout; that is
            function distance regularisation (Benjamin 2019, arXiv 1805.08289) with replay.
    """

    logit_weight: float = 0.25
    num_logits: int | None = 1024
    logits_from: Source = "trajectory"

    name: ClassVar[str] = "der++"
    _stored: dict[Reference, StoredLogits] = field(init=False, repr=False, compare=False)
    _following: ReplayBuffer = field(init=False, repr=False, compare=False)  # the buffer after the task
    _sightings: Counter[Reference] = field(init=False, repr=False, compare=False)
    _own: list[Reference] = field(init=False, repr=False, compare=False)  # the task's rows in a step
    _drawn: list[Reference] = field(init=False, repr=False, compare=False)  # the replayed ones
    _wanted: set[Reference] = field(init=False, repr=False, compare=False)  # those of its own rows that are stored
    _new: dict[Reference, StoredLogits] = field(init=False, repr=False, compare=False)  # what this process stored
    _task: int = field(init=False, repr=False, compare=False)  # counted from 0

    def start(self, run: "Run") -> Self:
        """With an empty buffer."""
        mine = super().start(run)
        mine.check("logit_weight", "0 or more", holds=mine.logit_weight >= 0)
        mine.check("num_logits", "1 or more, or none for all", holds=mine.num_logits is None or mine.num_logits >= 1)
        mine.check("logits_from", "trajectory or end", holds=mine.logits_from in get_args(Source))
        mine._following = mine.new_buffer(run.settings.seed + 1)
        mine._stored, mine._sightings, mine._task = {}, Counter(), 0
        mine._own, mine._drawn, mine._wanted, mine._new = [], [], set(), {}
        return mine

    def start_task(self, number: int) -> None:
        """Which of the task's examples will stay is drawn now, so that no others' logits need be kept."""
        self._task, self._sightings = number - 1, Counter()
        _hold(self._following, self.buffer)
        self.fill(self._following, number)

    def start_step(self, rows: Sequence[int]) -> None:
        """Which of the task's rows have their logits stored: of k sightings each in the end with probability 1/k."""
        self._own, self._wanted, self._new = [(self._task, row) for row in rows], set(), {}
        staying = set(self._following.references) if self.logits_from == "trajectory" else set()
        for reference in self._own:
            if reference in staying:
                self._sightings[reference] += 1
                if self._following.draw(self._sightings[reference]) == 0:
                    self._wanted.add(reference)

    def replayed(self) -> "Sequence[tuple[EncodedTask, int]]":
        """A draw from the buffer."""
        self._drawn = self.buffer.sample(self.num_replayed)
        return [(self.run.train_sets[task], row) for task, row in self._drawn]

    def batch_penalty(
        self, batch: "Batch", logits: torch.Tensor, *, replayed: bool, share: "Share"
    ) -> torch.Tensor | None:
        """The distance of replayed rows' logits; of the task's own rows some are stored."""
        references = (self._drawn if replayed else self._own)[share.first :][: len(batch.targets)]
        if not replayed:
            self._store(references, batch, logits.detach())
            return None
        if not self.logit_weight:
            return None
        stored = [self._stored[reference] for reference in references]
        distance = logit_distance(logits[batch.targets != IGNORED], stored)
        return self.logit_weight * share.targets * distance

    def after_step(self) -> None:
        """What each process stored is known to all."""
        for stored in self.run.processes.gathered(lambda: self._new):
            self._stored.update(stored)

    def end_task(self, number: int) -> None:
        """The buffer becomes what was drawn before the task; logits of examples that are no longer in it go."""
        _hold(self.buffer, self._following)
        if self.logits_from == "end":
            self._store_all(sorted(one for one in self.buffer.references if one[0] == number - 1))
        self._stored = {one: self._stored[one] for one in self.buffer.references}

    def state(self) -> State:
        """Both buffers, the logits, and how often each example was seen."""
        return {
            **super().state(),
            "following": self._following.state(),
            "stored": dict(self._stored),
            "sightings": dict(self._sightings),
            "task": self._task,
        }

    def restore(self, state: State) -> None:
        """Take them up."""
        super().restore(state)
        self._following.restore(state["following"])
        self._stored, self._sightings = dict(state["stored"]), Counter(state["sightings"])
        self._task = state["task"]

    def _store(self, references: Sequence[Reference], batch: "Batch", logits: torch.Tensor) -> None:
        """Store the logits of the rows that are to be."""
        for reference, targets, one in zip(references, batch.targets, logits, strict=True):
            if reference in self._wanted:
                self._new[reference] = stored_logits(one[targets != IGNORED], self.num_logits)

    @torch.no_grad()
    def _store_all(self, references: Sequence[Reference]) -> None:
        """Store the logits of rows at the weights as they are now."""
        size = self.run.settings.per_device_train_batch_size
        with self.run.at({}):  # in `eval()`
            for first in range(0, len(references), size):
                group = references[first : first + size]
                batch = self.run.batch([(self.run.train_sets[task], row) for task, row in group])
                for reference, targets, one in zip(group, batch.targets, self.run.logits(batch), strict=True):
                    self._stored[reference] = stored_logits(one[targets != IGNORED], self.num_logits)


def _hold(buffer: ReplayBuffer, other: ReplayBuffer) -> None:
    """Let a buffer hold what another does, and go on with its own draws."""
    buffer.restore({**other.state(), "draws": buffer.state()["draws"]})
