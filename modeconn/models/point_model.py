"""What paths, profiles and fits ask of a model: points and batches in, per-example numbers out."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from modeconn.adapters.adapter import Adapter
from modeconn.models.encoded import ExampleSums
from modeconn.models.shares import RowScores, Share, alone


class Encoded(Protocol):
    """A split of a task as a model reads it, in batches that are the same at every point."""

    @property
    def task(self) -> str:
        """Name of the task."""
        ...

    @property
    def split(self) -> str:
        """Name of the split."""
        ...

    @property
    def metric(self) -> str:
        """What the score means."""
        ...

    @property
    def num_examples(self) -> int:
        """N."""
        ...

    @property
    def num_truncated(self) -> int:
        """Inputs that were cut to fit."""
        ...

    @property
    def order(self) -> Sequence[int]:
        """Row numbers in the order in which they are scored."""
        ...

    @property
    def scored_examples(self) -> np.ndarray:
        """The example of every row that is scored, in their order."""
        ...

    @property
    def identity(self) -> tuple[object, ...]:
        """All that decides the numbers, apart from model and point."""
        ...

    def sample(self, num_rows: int) -> "Encoded":
        """About `num_rows` rows, spread over the split; 0 takes all."""
        ...


class PointModel(Protocol):
    """A model as a function of a point."""

    @property
    def module(self) -> nn.Module:
        """The model itself."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it lives."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of its weights."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash of the base's weights."""
        ...

    def check(self, point: Adapter) -> None:
        """Raise unless a point fits the model."""
        ...

    def weight(self, parameter: str) -> torch.Tensor:
        """A parameter of the base as the model stores it."""
        ...

    def transposed(self, parameter: str) -> bool:
        """Whether the model stores a parameter as `[in, out]`."""
        ...

    def has(self, parameter: str) -> bool:
        """Whether the base has a parameter of this name."""
        ...

    def encode(self, task: Any, split: str, settings: Any = None) -> Any:  # noqa: ANN401  (what `evaluate` takes)
        """A split of a task, read once."""
        ...

    def evaluate(self, point: Adapter, encoded: Sequence[Any], share: Share = alone) -> list[ExampleSums]:
        """Per-example sums at a point; the model is afterwards what it was before."""
        ...

    def at(self, point: Adapter) -> AbstractContextManager[nn.Module]:
        """The model at a point, for `score_rows`."""
        ...

    def reference(self, point: Adapter) -> AbstractContextManager[nn.Module]:
        """The model at a point, loaded in a way that is independent of `at`."""
        ...

    def score_rows(self, module: nn.Module, encoded: Any, share: Share = alone) -> RowScores:  # noqa: ANN401
        """Loss and score of all rows, `[R]` each."""
        ...

    def row_tokens(self, encoded: Any) -> np.ndarray:  # noqa: ANN401
        """Scored tokens of every row, `[R]`; 1 where a row has one answer."""
        ...

    def collate(self, rows: Sequence[tuple[Any, int]]) -> Any:  # noqa: ANN401
        """Rows, each a split and a row's number, as one batch on the model's device."""
        ...

    def batch_losses(self, batch: Any) -> torch.Tensor:  # noqa: ANN401
        """Losses of a batch at the model's present weights with gradients, `[B]`, summed over tokens."""
        ...
