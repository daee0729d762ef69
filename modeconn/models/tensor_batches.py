"""Inputs of any torch module on their way through it, and its outputs as one vector for each example."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from modeconn.errors import TaskError
from modeconn.models.code_identity import tensor_identity
from modeconn.models.inputs import Inputs
from modeconn.models.module_model import ModuleModel, TensorTask
from modeconn.models.prompt_batches import Layout


@dataclass(frozen=True, eq=False)
class TensorRow:
    """What a module reads of one example.

    Attributes:
        example: Its number in the split.
        inputs: `[...]`.
    """

    example: int
    inputs: torch.Tensor


@dataclass(frozen=True)
class OutputLayout(Layout):
    """Where the examples stand in what a module puts out: the first dimension is theirs."""

    expected: ClassVar[str] = "a module that is run once, with the B examples first: [B, D], [B, L, D] or [B, D, H, W]"

    def tokens(self, output: torch.Tensor) -> torch.Tensor | None:
        """The output itself; None where its first dimension is not that of the examples."""
        return output if output.ndim > 1 and len(output) == len(self.mask) else None

    def pooled(self, tokens: torch.Tensor, pooling: str) -> torch.Tensor | None:
        """One vector an example, `[B, D]`, float32 or float64; a copy, as the next module may work in place.

        None where the first position is asked for and there is no order, as in images.
        """
        wide = tokens if tokens.dtype == torch.float64 else tokens.float()
        if pooling == "flatten" or wide.ndim == 2:
            return wide.flatten(1).clone()
        if pooling == "cls":
            return wide[:, 0].clone() if wide.ndim == 3 else None
        positions = wide if wide.ndim == 3 else wide.flatten(2).transpose(1, 2)  # [B, L, D]
        return positions.mean(1)


@dataclass(frozen=True)
class TensorBatch:
    """Examples that go through a module together.

    Attributes:
        inputs: `[B, ...]` on the module's device.
        layouts: How they stand in outputs, twice: as batches of prompts have it.
    """

    inputs: torch.Tensor
    layouts: tuple[Layout, Layout]


def read_tensors(model: ModuleModel, task: object, *, split: str, num_examples: int | None = None) -> Inputs:
    """The inputs of a split as a module reads them; targets are not read.

    Args:
        model: The model.
        task: The task.
        split: Which of its splits.
        num_examples: How many, spread evenly over the split; None, or more than there are, takes all.

    Raises:
        TaskError: If the task holds no tensors, or lacks the split.
    """
    if not isinstance(task, TensorTask):
        raise TaskError(
            f"{model.base_name} cannot read the task",
            expected="a TensorTask: inputs and targets as tensors",
            got=type(task).__name__,
            remedy='mc.TensorTask("mine", {"test": (inputs, targets)})',
        )
    inputs = model.encode(task, split).inputs
    chosen = np.unique(np.linspace(0, len(inputs) - 1, min(num_examples or len(inputs), len(inputs))).round())
    numbers = chosen.astype(int).tolist()
    content = tensor_identity(inputs[numbers])
    rows: Any = tuple(TensorRow(number, inputs[number]) for number in numbers)  # in the place of rows of tokens
    return Inputs(task.name, split, rows, texts=content, tokens=content, num_truncated=0)


def tensor_batch(model: ModuleModel, rows: Sequence[TensorRow]) -> TensorBatch:
    """Examples as one batch on the module's device."""
    mask = torch.ones(len(rows), 1, dtype=torch.bool)
    layout = OutputLayout(False, mask, mask.sum(1))
    return TensorBatch(torch.stack([row.inputs for row in rows]).to(model.device), (layout, layout))
