"""Any torch module with a loss function as a function of a point."""

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.config import AdapterConfig
from modeconn.errors import ModelError, TaskError, listed
from modeconn.models.code_identity import architecture_identity, function_identity, tensor_identity
from modeconn.models.encoded import ExampleSums
from modeconn.models.norm_statistics import is_statistic, own_statistics, running_norms, statistics_of
from modeconn.models.placing import check_fits, placed
from modeconn.models.shares import RowScores, Share, alone

LossFunction = Callable[[Any, torch.Tensor], torch.Tensor]
ScoreFunction = Callable[[Any, torch.Tensor], torch.Tensor]
Tensors = tuple[torch.Tensor, torch.Tensor]


def module_point(module: nn.Module, *, name: str = "point") -> Adapter:
    """The parameters of a module as a point, copied in float32; buffers are no coordinates.

    The point notes what the buffers hold that are no running statistics, so that a model in which they are others
    refuses it.

    Args:
        module: A trained module.
        name: How tables call the point.
    """
    tensors = {key: value.detach().to("cpu", torch.float32, copy=True) for key, value in module.named_parameters()}
    config = AdapterConfig.parse({"peft_type": "MODULE"}, name)
    return Adapter.from_tensors(tensors, config, name=name, provenance={"buffers": _fixed_buffers(module)})


def _fixed_buffers(module: nn.Module) -> dict[str, str]:
    """A hash of every buffer that is no running statistic of a norm."""
    return {name: tensor_identity(one) for name, one in module.named_buffers() if not is_statistic(module, name)}


def _kinds(norms: Sequence[nn.Module]) -> str:
    """What norms are called, each kind once."""
    named = {"batch norm" if isinstance(one, nn.modules.batchnorm._BatchNorm) else "instance norm" for one in norms}
    return " and ".join(sorted(named))


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

    Running statistics of batch and instance norm belong to a point and not to the line between two: where the module
    has some they are made anew at every point from `norm_inputs` (Garipov 2018, arXiv 1802.10026), and put back
    afterwards. All other buffers are the module's at every point; checkpoints in which they differ are refused.

    Args:
        module: The architecture; its parameters' values do not matter.
        loss: Outputs and targets -> loss of every example, `[B]`, nats.
        score: Outputs and targets -> score of every example in [0, 1]; whether the likeliest class is right by default.
        norm_inputs: Training inputs, `[M, ...]`, for these statistics.
        batch_size: Examples a batch.
        identity: A name for what loss and score compute, where it cannot be told from their code (see
            `code_identity`); numbers that were stored under one name are taken for each other's.

    Raises:
        ModelError: If the module's norms keep running statistics and there are no `norm_inputs`, or it cannot be told
            what loss or score compute.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: LossFunction,
        *,
        score: ScoreFunction = _right,
        norm_inputs: torch.Tensor | None = None,
        batch_size: int = 256,
        identity: str | None = None,
    ) -> None:
        self.module, self.loss, self.score = module.eval(), loss, score
        self.norm_inputs, self.batch_size = norm_inputs, batch_size
        self._norms = running_norms(module)
        if self._norms and norm_inputs is None:
            raise ModelError(
                f"the module has {_kinds(self._norms)}, whose statistics are those of one point only",
                expected="training inputs from which they are made at every point",
                got="no norm_inputs",
                remedy="ModuleModel(module, loss, norm_inputs=train_inputs)",
            )
        self.base_name = type(module).__name__
        self._buffers = _fixed_buffers(module)
        self.fingerprint = self._identity(identity)

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
        self._check_buffers(point)

    def _check_buffers(self, point: Adapter) -> None:
        """Raise if a point was made from a module whose buffers held something else.

        Raises:
            ModelError: With their names.
        """
        noted = point.provenance.get("buffers", self._buffers)
        differing = {name for name in noted.keys() | self._buffers.keys() if noted.get(name) != self._buffers.get(name)}
        if differing:
            raise ModelError(
                f"buffers of {point.name} and of {self.base_name} differ, and buffers are no coordinates of a path",
                expected="buffers that all checkpoints have in common, such as a table of positions",
                got=f"other values in {listed(differing)}",
                remedy="make what is learnt an nn.Parameter, or give all modules the same buffers before module_point",
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
        with placed(self.module, point), self._statistics(self.module):
            yield self.module

    @contextmanager
    def reference(self, point: Adapter) -> Iterator[nn.Module]:
        """A copy of the module that has read the point by `load_state_dict`."""
        module = copy.deepcopy(self.module)
        changed = {name: self.weight(name) + update.dense() for name, update in point.updates.items()}
        unused = module.load_state_dict({**point.saved, **changed}, strict=False).unexpected_keys
        assert not unused, f"the point was checked, and yet nothing takes {unused}"
        with self._statistics(module):
            yield module

    def evaluate(self, point: Adapter, encoded: Sequence[TensorSplit], share: Share = alone) -> list[ExampleSums]:
        """Per-example sums of every split at a point."""
        with self.at(point) as module:
            scored = [self.score_rows(module, split, share) for split in encoded]
        return [ExampleSums(loss, np.ones(len(loss), dtype=np.int64), score) for loss, score in scored]

    @torch.inference_mode()
    def score_rows(self, module: nn.Module, encoded: TensorSplit, share: Share = alone) -> RowScores:
        """Loss and score of all examples, `[N]` each, float64."""

        def scored(start: int) -> np.ndarray:
            piece = slice(start, start + self.batch_size)
            targets = encoded.targets[piece].to(self.device)
            outputs = module(encoded.inputs[piece].to(self.device))
            both = self.loss(outputs, targets), self.score(outputs, targets)
            return np.stack([one.double().cpu().numpy() for one in both])

        loss, score = np.concatenate(share(range(0, len(encoded.inputs), self.batch_size), scored), axis=1)
        return loss, score

    def row_tokens(self, encoded: TensorSplit) -> np.ndarray:
        """1 a row."""
        return np.ones(encoded.num_examples, dtype=np.int64)

    def collate(self, rows: Sequence[tuple[TensorSplit, int]]) -> Tensors:
        """Rows, each a split and a row's number, as one batch."""
        inputs = torch.stack([split.inputs[row] for split, row in rows]).to(self.device)
        return inputs, torch.stack([split.targets[row] for split, row in rows]).to(self.device)

    def batch_losses(self, batch: Tensors) -> torch.Tensor:
        """Losses of a batch with gradients, `[B]`; batch norm takes the batch's own statistics, and keeps its own."""
        with own_statistics(self._norms):
            return self.loss(self.module(batch[0]), batch[1])

    @contextmanager
    def _statistics(self, module: nn.Module) -> Iterator[None]:
        """A context in which a module's norms have the statistics of its present weights."""
        with statistics_of(module, self.norm_inputs, batch_size=self.batch_size):
            yield

    def _identity(self, named: str | None) -> str:
        """SHA-256 in hex of all that decides the numbers, apart from point and data: no parameter's value."""
        computed = named or (function_identity(self.loss, "the loss"), function_identity(self.score, "the score"))
        inputs = None if self.norm_inputs is None else tensor_identity(self.norm_inputs)
        architecture = architecture_identity(self.module, without=lambda name: is_statistic(self.module, name))
        return hashlib.sha256(repr((architecture, inputs, self.batch_size, computed)).encode()).hexdigest()
