"""Points of a small space as modules, so that a loss landscape is a formula."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from modeconn.adapters.adapter import Adapter
from modeconn.models.module_model import ModuleModel, TensorTask, module_point


class Place(nn.Module):
    """A point; every input gives the point itself."""

    def __init__(self, place: Sequence[float]) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.tensor(place))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.place.expand(len(inputs), -1)


def place_model(landscape: Callable[[torch.Tensor], torch.Tensor], *, dimension: int = 2) -> ModuleModel:
    """A model whose loss at a place is `landscape(place)`; the score says whether the first coordinate is positive."""
    return ModuleModel(
        Place([0.0] * dimension),
        lambda outputs, _: landscape(outputs.double()),
        score=lambda outputs, _: (outputs[:, 0] > 0).double(),
    )


def places(*coordinates: Sequence[float]) -> list[Adapter]:
    """Points named p0, p1, ..."""
    return [module_point(Place(place), name=f"p{number}") for number, place in enumerate(coordinates)]


def no_task(name: str = "toy", *, size: int = 3) -> TensorTask:
    """A task of inputs that do not matter."""
    return TensorTask(name, {"test": (torch.zeros(size, 1), torch.zeros(size))}, metric="sign")


class MemoryStore(dict):
    """A store of finished points that lives as long as the test."""

    def load(self, key):
        return self.get(key)

    def save(self, key, records):
        self[key] = records
