"""Any torch module with a loss function as a function of a point."""

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.config import AdapterConfig
from modeconn.errors import ModelError, TaskError, listed
from modeconn.models.encoded import ExampleSums
from modeconn.models.fingerprint import base_fingerprint
from modeconn.models.placing import check_fits, placed

LossFunction = Callable[[Any, torch.Tensor], torch.Tensor]
ScoreFunction = Callable[[Any, torch.Tensor], torch.Tensor]
Tensors = tuple[torch.Tensor, torch.Tensor]


def module_point(module: nn.Module, *, name: str = "point") -> Adapter:
    """The parameters of a module as a point, copied in float32; buffers are no coordinates.

    Args:
        module: A trained module.
        name: How tables call the point.
    """
    tensors = {key: value.detach().to("cpu", torch.float32, copy=True) for key, value in module.named_parameters()}
    return Adapter.from_tensors(tensors, AdapterConfig.parse({"peft_type": "MODULE"}, name), name=name)


@dataclass(frozen=True)
class TensorTask:
    """A task given as tensors, for modules that are no language models.

    Attributes:
        name: Name of the task.
        splits: Name -> inputs `[N, ...]` and targets `[N, ...]`.
        metric: What the score function's values mean.
    """

    name: str
    splits: Mapping[str, Tensors]
    metric: str = "accuracy"


@dataclass(frozen=True)
class TensorSplit:
    """One split of a `TensorTask`; the attributes are those of an encoded task."""

    task: str
    split: str
    metric: str
    inputs: torch.Tensor
    targets: torch.Tensor

    @property
    def num_examples(self) -> int:
        """N."""
        return len(self.inputs)

    @property
    def num_truncated(self) -> int:
        """Nothing is cut."""
        return 0

    @property
    def order(self) -> Sequence[int]:
        """Rows are scored as they lie."""
        return range(len(self.inputs))

    @property
    def scored_examples(self) -> np.ndarray:
        """A row is an example, `[N]`."""
        return np.arange(len(self.inputs))

    @property
    def identity(self) -> tuple[object, ...]:
        """All that decides the numbers, apart from model and point."""
        content = hashlib.sha256(self.inputs.cpu().numpy().tobytes() + self.targets.cpu().numpy().tobytes())
        return self.task, self.split, self.metric, tuple(self.inputs.shape), content.hexdigest()

    def sample(self, num_rows: int) -> "TensorSplit":
        """The first `num_rows` rows; 0 takes all."""
        if num_rows == 0:
            return self
        return replace(self, inputs=self.inputs[:num_rows], targets=self.targets[:num_rows])


def _right(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """1 where the likeliest class is the target, `[B]`."""
    return (outputs.argmax(-1) == targets).double()


class ModuleModel:
    """A module, a loss and a score as a function of a point (see `module_point`).

    Batch-norm statistics belong to a point and not to the line between two: where the module has batch norm they are
    made anew at every point from `norm_inputs` (Garipov 2018, arXiv 1802.10026), and put back afterwards.

    Args:
        module: The architecture; its parameters' values do not matter.
        loss: Outputs and targets -> loss of every example, `[B]`, nats.
        score: Outputs and targets -> score of every example in [0, 1]; whether the likeliest class is right by default.
        norm_inputs: Training inputs, `[M, ...]`, for batch-norm statistics.
        batch_size: Examples a batch.

    Raises:
        ModelError: If the module has batch norm and there are no `norm_inputs`.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: LossFunction,
        *,
        score: ScoreFunction = _right,
        norm_inputs: torch.Tensor | None = None,
        batch_size: int = 256,
    ) -> None:
        self.module, self.loss, self.score = module.eval(), loss, score
        self.norm_inputs, self.batch_size = norm_inputs, batch_size
        self._norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
        self._norms = [part for part in self._norms if part.track_running_stats]
        if self._norms and norm_inputs is None:
            raise ModelError(
                "the module has batch norm, whose statistics are those of one point only",
                expected="training inputs from which they are made at every point",
                got="no norm_inputs",
                remedy="ModuleModel(module, loss, norm_inputs=train_inputs)",
            )
        self.base_name = type(module).__name__
        self.fingerprint = base_fingerprint(module)

    @property
    def device(self) -> torch.device:
        """Where the module lives."""
        return next(self.module.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of its parameters."""
        return next(self.module.parameters()).dtype

    def weight(self, parameter: str) -> torch.Tensor:
        """A parameter as the module stores it."""
        return self.module.get_parameter(parameter).detach()

    def transposed(self, parameter: str) -> bool:
        """Never: points of modules lie as the module stores them."""
        del parameter
        return False

    def has(self, parameter: str) -> bool:
        """Whether the module has a parameter of this name."""
        return parameter in dict(self.module.named_parameters(remove_duplicate=False))

    def check(self, point: Adapter) -> None:
        """Raise unless a point holds every parameter of the module in its shape.

        Raises:
            ModelError: With the names that differ.
        """
        check_fits(self.module, point, self.base_name)
        missing = dict(self.module.named_parameters()).keys() - point.saved.keys() - point.updates.keys()
        if missing:
            raise ModelError(
                f"{point.name} does not hold all parameters of {self.base_name}",
                expected="a point from module_point(module) of the same architecture",
                got=f"nothing for {listed(missing)}",
                remedy="make the point from the whole module",
            )

    def encode(self, task: TensorTask, split: str = "test", settings: object = None) -> TensorSplit:
        """A split of a task.

        Raises:
            TaskError: If the task lacks it, or inputs and targets differ in number.
        """
        del settings
        if split not in task.splits or len(task.splits[split][0]) != len(task.splits[split][1]):
            got = listed(task.splits)
            raise TaskError(
                f"the task {task.name} has no usable split {split!r}",
                expected=f"splits[{split!r}]: inputs and targets of one length",
                got=got if split not in task.splits else str([len(part) for part in task.splits[split]]),
                remedy="name another split, or mend the tensors",
            )
        return TensorSplit(task.name, split, task.metric, *task.splits[split])

    @contextmanager
    def at(self, point: Adapter) -> Iterator[nn.Module]:
        """The module at a point, statistics of its batch norm included; afterwards it is what it was."""
        check_fits(self.module, point, self.base_name)
        with placed(self.module, point), self._statistics(self.module, self._norms):
            yield self.module

    @contextmanager
    def reference(self, point: Adapter) -> Iterator[nn.Module]:
        """A copy of the module that has read the point by `load_state_dict`."""
        module = copy.deepcopy(self.module)
        changed = {name: self.weight(name) + update.dense() for name, update in point.updates.items()}
        unused = module.load_state_dict({**point.saved, **changed}, strict=False).unexpected_keys
        assert not unused, f"the point was checked, and yet nothing takes {unused}"
        norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
        with self._statistics(module, [part for part in norms if part.track_running_stats]):
            yield module

    def evaluate(self, point: Adapter, encoded: Sequence[TensorSplit]) -> list[ExampleSums]:
        """Per-example sums of every split at a point."""
        with self.at(point) as module:
            scored = [self.score_rows(module, split) for split in encoded]
        return [ExampleSums(loss, np.ones(len(loss), dtype=np.int64), score) for loss, score in scored]

    @torch.inference_mode()
    def score_rows(self, module: nn.Module, encoded: TensorSplit) -> tuple[np.ndarray, np.ndarray]:
        """Loss and score of all examples, `[N]` each, float64."""
        losses, scores = [], []
        for start in range(0, len(encoded.inputs), self.batch_size):
            piece = slice(start, start + self.batch_size)
            targets = encoded.targets[piece].to(self.device)
            outputs = module(encoded.inputs[piece].to(self.device))
            losses.append(self.loss(outputs, targets).double().cpu())
            scores.append(self.score(outputs, targets).double().cpu())
        return torch.cat(losses).numpy(), torch.cat(scores).numpy()

    def row_tokens(self, encoded: TensorSplit) -> np.ndarray:
        """1 a row."""
        return np.ones(encoded.num_examples, dtype=np.int64)

    def collate(self, rows: Sequence[tuple[TensorSplit, int]]) -> Tensors:
        """Rows, each a split and a row's number, as one batch."""
        inputs = torch.stack([split.inputs[row] for split, row in rows]).to(self.device)
        return inputs, torch.stack([split.targets[row] for split, row in rows]).to(self.device)

    def batch_losses(self, batch: Tensors) -> torch.Tensor:
        """Losses of a batch with gradients, `[B]`; batch norm takes the batch's own statistics, and keeps its own."""
        for norm in self._norms:
            norm.train()
        with ExitStack() as undo:
            for norm in self._norms:
                undo.callback(norm.eval)
                undo.enter_context(_kept_buffers(norm))
            return self.loss(self.module(batch[0]), batch[1])

    @contextmanager
    def _statistics(self, module: nn.Module, norms: Sequence[Any]) -> Iterator[None]:
        """A context in which batch norm has the statistics of the module's present weights."""
        with ExitStack() as undo:
            for norm in norms:
                undo.enter_context(_kept_buffers(norm))
                undo.callback(setattr, norm, "momentum", norm.momentum)
                undo.callback(norm.eval)
                norm.reset_running_stats()
                norm.momentum = None  # the plain mean over batches
                norm.train()
            if norms:
                self._run_through(module)
            for norm in norms:
                norm.eval()
            yield

    @torch.no_grad()
    def _run_through(self, module: nn.Module) -> None:
        """Show the module its training inputs, in batches of one size: their statistics weigh alike."""
        inputs = self.norm_inputs
        assert inputs is not None  # the constructor has seen to it
        whole = max(self.batch_size, len(inputs) - len(inputs) % self.batch_size)
        for start in range(0, min(whole, len(inputs)), self.batch_size):
            module(inputs[start : start + self.batch_size].to(self.device))


@contextmanager
def _kept_buffers(module: nn.Module) -> Iterator[None]:
    """A context in which a module writes to copies of its buffers; its own are never touched.

    Written and put back in place, they would be buffers that the backward pass finds changed.
    """
    before = dict(module._buffers)
    module._buffers.update({name: value.clone() for name, value in before.items() if value is not None})
    try:
        yield
    finally:
        module._buffers.update(before)
