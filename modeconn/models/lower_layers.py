"""The first layers of a model, once for all points of a sweep that leave them as they are.

What the last of these layers gives to a batch is kept at the first point; at the others the layers up to it are left
out. That all changes act after them is seen at the first point, and that the model computes the same without them with
the first batch at the second. Where it does not, all layers run.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map_only

from modeconn.adapters.adapter import Adapter
from modeconn.models.encoded import Batch
from modeconn.models.halving import is_out_of_memory
from modeconn.models.replaced_forward import replaced_forward

Scored = tuple[torch.Tensor, torch.Tensor]
_TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}  # relative to 1 + loss; half precision below
_TOLERANCE_OF_HALF = 1e-2


@dataclass(eq=False)
class LowerLayers:
    """Layers that no point of a sweep changes, and what the last of them gave.

    Attributes:
        layers: The layers, the first of the model; none where they have to run.
        unchanged: Parameters that points bring along with the base's numbers.
        later: The modules elsewhere that points change, which must be called, and not before these layers are through:
            when another reads the weights of one that is not called is not known.
        room: Bytes for what is kept; batches that find no room go through all layers at every point.
    """

    layers: Sequence[nn.Module]
    unchanged: frozenset[str]
    later: Sequence[nn.Module]
    room: int
    _kept: dict[int, tuple[Batch, Any]] = field(default_factory=dict)  # the batch is held: its id stays its own
    _is_checked: bool = False
    _bytes_a_token: float = 0.0

    def needed(self, num_tokens: int) -> float:
        """Bytes that tokens need, going by the last batch; a few before there was one."""
        return max(1.0, self._bytes_a_token * num_tokens)

    def rest(self, point: Adapter) -> Adapter:
        """A point without what is the base's own."""
        kept = {name: update for name, update in point.updates.items() if name not in self.unchanged}
        return point if len(kept) == len(point.updates) else replace(point, updates=kept)

    def score(self, score: Callable[[Batch], Scored], whole: Batch, batch: Batch) -> Scored:
        """What a batch scores, with the lower layers left out where it is known what they give.

        Args:
            score: Scores a batch.
            whole: The batch of the split, by which it is known again.
            batch: The same on the model's device.
        """
        if not self.layers:
            return score(batch)
        try:
            return self._shared(score, whole, batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        self._stop()  # there is better use for the memory, also for what the failed call held until here
        return score(batch)

    def _shared(self, score: Callable[[Batch], Scored], whole: Batch, batch: Batch) -> Scored:
        """What a batch scores where layers are shared."""
        if id(whole) not in self._kept:
            with self._watched(whole):
                return score(batch)
        if not self._is_checked:
            return self._checked(score, whole, batch)
        with self._left_out(self._kept[id(whole)][1]):
            return score(batch)

    def _checked(self, score: Callable[[Batch], Scored], whole: Batch, batch: Batch) -> Scored:
        """What a batch scores by all layers; they are never left out again unless the losses are the same without."""
        given = self._kept[id(whole)][1]
        try:  # before all layers read this batch again: a model may remember the last one
            with self._left_out(given):
                found = score(batch)[0]
        except Exception as error:  # whatever a model does that nobody thought of: all its layers run then
            if is_out_of_memory(error):
                raise
            found = None
        expected = score(batch)
        self._is_checked = True
        if found is None or not _are_close(found, expected[0]):
            self._stop()
        return expected

    def _stop(self) -> None:
        """Let all layers run from now on."""
        self.layers = ()
        self._kept.clear()

    @contextmanager
    def _watched(self, whole: Batch) -> Iterator[None]:
        """A context in which what the layers give is kept, if there is room, and all later ones must come later."""
        given: list[Any] = []
        early, late = set[nn.Module](), set[nn.Module]()

        def called(module: nn.Module, *_: object) -> None:
            (late if given else early).add(module)

        with ExitStack() as undo:
            undo.callback(self.layers[-1].register_forward_hook(lambda *call: given.append(call[-1])).remove)
            for module in self.later:
                undo.callback(module.register_forward_pre_hook(called).remove)
            yield
        if early or len(late) < len(self.later) or len(given) != 1:
            self._stop()
            return
        size = sum(one.nbytes for one in tree_leaves(given[0]) if isinstance(one, torch.Tensor))
        self._bytes_a_token = size / whole.num_tokens
        if size <= self.room:
            self.room -= size
            self._kept[id(whole)] = whole, _copied(given[0])

    @contextmanager
    def _left_out(self, given: Any) -> Iterator[None]:  # noqa: ANN401
        """A context in which every one of the layers gives what the last one gave."""
        with ExitStack() as undo:
            for layer in self.layers:
                undo.enter_context(replaced_forward(layer, lambda *_, **__: _copied(given)))
            yield


@dataclass(eq=False)
class Sweep:
    """The sweep that a model serves, if any.

    Attributes:
        layers: Those of the sweep; None where nothing is shared.
    """

    layers: LowerLayers | None = None

    @contextmanager
    def sharing(self, layers: LowerLayers | None) -> Iterator[None]:
        """A context in which a model serves a sweep, whose points are all that are evaluated."""
        before, self.layers = self.layers, layers
        try:
            yield
        finally:
            self.layers = before

    def rest(self, point: Adapter) -> Adapter:
        """What of a point is to be put into the model."""
        return point if self.layers is None else self.layers.rest(point)

    def score(self, score: Callable[[Batch], Scored], whole: Batch, batch: Batch) -> Scored:
        """What a batch scores, see `LowerLayers.score`."""
        return score(batch) if self.layers is None else self.layers.score(score, whole, batch)


def _are_close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether losses are equal but for the rounding of their dtype, those that are no numbers included."""
    tolerance = _TOLERANCE.get(expected.dtype, _TOLERANCE_OF_HALF)
    return torch.allclose(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


def _copied(value: Any) -> Any:  # noqa: ANN401
    """What a layer gives, in tensors of its own: the layers after it may change them in place."""
    return tree_map_only(torch.Tensor, torch.clone, value)
