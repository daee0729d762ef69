"""Merging along a path after each task: where on the line from the old result to the new checkpoint all are served."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.continual.buffer import ReplayBuffer
from modeconn.continual.methods.lora_pairs import Pair, lora_pairs, nearest_pair, saved_name
from modeconn.continual.methods.merged import Merged, Space, merged
from modeconn.continual.methods.method import Result, Sequential, State
from modeconn.continual.starting import FULL
from modeconn.models.generating import example_sums
from modeconn.tasks.rows import EncodedRows

if TYPE_CHECKING:
    from modeconn.continual.run import Run
    from modeconn.models.encoded import EncodedTask

ChooseOn = Literal["validation", "buffer"]
ChooseBy = Literal["score", "loss"]
NextStart = Literal["newest", "result"]


@dataclass
class PathMerge(Sequential):
    """After each task `path(t) = (1 - t) former result + t new checkpoint`, at the t that serves all tasks so far best.

    The path is `LinearPath` in the chosen space; t is one of `num_points` even positions in [0, 1]. It has the highest
    mean over the tasks so far of the mean score (ties go to the lower loss, then to the lower t), or the lowest mean
    loss, on data that the score matrix does not see. A former result is where the path of the task before ended.

    Attributes:
        num_points: Positions, both ends included.
        space: "weights" combines the updates, exactly: the rank grows by the learner's with every task that counts.
            "factors" combines the learner's tensors.
        choose_on: "validation", the split of `validation_split` of every task; or "buffer", training examples kept,
            whose score is 1 where every token of the answer is the likeliest, whatever the task's own score.
        choose_by: "score" or "loss".
        buffer_size: Examples of all tasks in the buffer, the same number of each.
        next_start: Where the next task starts: from the "newest" checkpoint, or from the "result", in weights space
            from the nearest LoRA of the learner's rank.
    """

    num_points: int = 11
    space: Space = "weights"
    choose_on: ChooseOn = "validation"
    choose_by: ChooseBy = "score"
    buffer_size: int = 500
    next_start: NextStart = "newest"

    name: ClassVar[str] = "path-merge"
    _merged: Merged = field(init=False, repr=False, compare=False)
    _newest: dict[str, torch.Tensor] = field(init=False, repr=False, compare=False)
    _buffer: ReplayBuffer = field(init=False, repr=False, compare=False)
    _positions: list[float] = field(init=False, repr=False, compare=False)
    _pairs: tuple[Pair, ...] = field(init=False, repr=False, compare=False)

    @property
    def chooses_on_validation(self) -> bool:
        """If asked to."""
        return self.choose_on == "validation"

    def start(self, run: "Run") -> Self:
        """With nothing to merge yet."""
        mine = super().start(run)
        mine.check("num_points", "2 or more", holds=mine.num_points > 1)
        mine.check("choose_on", "validation or buffer", holds=mine.choose_on in ChooseOn.__args__)
        mine.check("choose_by", "score or loss", holds=mine.choose_by in ChooseBy.__args__)
        mine.check("next_start", "newest or result", holds=mine.next_start in NextStart.__args__)
        mine.check("buffer_size", "an example a task", holds=mine.buffer_size >= len(run.train_sets))
        mine._merged = merged(mine, run, mine.space)
        of_points = mine.space == "weights" and mine.next_start == "result"
        mine._pairs = lora_pairs(mine, run) if of_points and run.settings.adapter != FULL else ()
        mine._buffer = ReplayBuffer(mine.buffer_size, "balanced", seed=run.settings.seed)
        mine._positions = []
        return mine

    def start_task(self, number: int) -> None:
        """From the result, if asked to."""
        if number > 1 and self.next_start == "result":
            result = self._merged.result
            self.run.load(self._held(result) if isinstance(result, Adapter) else result or {})

    def end_task(self, number: int) -> None:
        """Measure the path and take its best point."""
        for row in range(len(self.run.train_sets[number - 1].rows.rows)):
            self._buffer.add((number - 1, row))
        best = self._best(self._splits(number)) if number > 1 else 1.0
        self._merged.take(best)
        self._positions.append(best)

    def result(self) -> Result:
        """The path's best point."""
        return self._merged.result

    def others(self) -> Mapping[str, Result]:
        """The learner as it is."""
        return {"newest": None}

    def other_results(self) -> tuple[str, ...]:
        """The learner as it is."""
        return ("newest",)

    def facts(self) -> dict[str, Any]:
        """The chosen positions, one a task."""
        return {"merged_at": self._positions}

    def state(self) -> State:
        """Result, buffer and chosen positions."""
        return {"merged": self._merged.state(), "buffer": self._buffer.state(), "positions": self._positions}

    def restore(self, state: State) -> None:
        """Take them up."""
        self._merged.restore(state["merged"])
        self._buffer.restore(state["buffer"])
        self._positions = list(state["positions"])

    def _best(self, splits: "Sequence[EncodedTask]") -> float:
        """The best position, the first of equals."""
        grid = torch.linspace(0, 1, self.num_points, dtype=torch.float64).tolist()
        line = self._merged.line()
        return max(grid, key=lambda t: self._measured(line(t), splits))

    def _splits(self, number: int) -> "Sequence[EncodedTask]":
        """What decides, of the tasks so far."""
        if self.choose_on == "validation":
            return self.run.selection_sets[:number]
        kept = [sorted(row for task, row in self._buffer.references if task == wanted) for wanted in range(number)]
        return [_part(self.run, self.run.train_sets[task], rows) for task, rows in enumerate(kept)]

    def _measured(self, result: Result, splits: "Sequence[EncodedTask]") -> tuple[float, ...]:
        """How good a result is, the mean over tasks: score and negated loss, or the latter alone."""
        with self.run.module_at(result) as module:
            share = self.run.processes.share
            found = [example_sums(self.run.model, module, split, share=share) for split in splits]
        loss = sum(float(one.loss_sum.sum() / one.num_tokens.sum()) for one in found) / len(found)
        score = sum(float(one.score.mean()) for one in found) / len(found)
        return (score, -loss) if self.choose_by == "score" else (-loss,)

    def _held(self, point: Adapter) -> dict[str, torch.Tensor]:
        """The learner's weights that are nearest to a point."""
        weights = self.run.weights()
        for pair in self._pairs:
            if pair.parameter not in point.updates:
                weights[pair.up].zero_()
                continue
            factors = point.updates[pair.parameter].factors(unit=pair.scaling)  # those of one checkpoint bit for bit
            up, down = nearest_pair(*factors, pair.rank)
            weights[pair.up].zero_()[:, : up.shape[1]] = up
            weights[pair.down][: len(down)] = down
        for name in weights:
            if (saved := point.saved.get(saved_name(name))) is not None:
                weights[name].copy_(saved)
        return weights


def _part(run: "Run", split: "EncodedTask", rows: Sequence[int]) -> "EncodedTask":
    """Some rows of a training split as a split of their own."""
    size = run.settings.per_device_train_batch_size
    groups = [rows[first : first + size] for first in range(0, len(rows), size)]
    chosen = tuple(split.rows.rows[row] for row in rows)
    return replace(
        split,
        rows=EncodedRows(chosen, (0,) * len(chosen), 0),
        batches=tuple(run.batch([(split, row) for row in group]) for group in groups),
        order=tuple(range(len(chosen))),
        questions=None,
    )
