"""Fits whose answer is known: points of the plane as models, and what keeps their state."""

import copy
from collections.abc import Callable

import torch
from torch import nn

import modeconn as mc
from modeconn.fitting.state import FitState

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Place(nn.Module):
    """A point of the plane; every input gives the point itself."""

    def __init__(self, x: float = 0.0, y: float = 0.0) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.tensor([x, y]))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The point, once an input."""
        return self.place.expand(len(inputs), 2)


def plane_model(loss: Loss) -> mc.ModuleModel:
    """The plane with a loss on it."""
    return mc.ModuleModel(Place(), loss, score=lambda outputs, _: torch.zeros(len(outputs)))


def places(*coordinates: tuple[float, float]) -> list[mc.Adapter]:
    """Points of the plane."""
    return [mc.module_point(Place(*xy), name=f"p{number}") for number, xy in enumerate(coordinates)]


def nothing(size: int = 4) -> mc.TensorTask:
    """A task of inputs that do not matter."""
    pair = torch.zeros(size, 1), torch.zeros(size)
    return mc.TensorTask("toy", dict.fromkeys(("train", "eval", "test"), pair), metric="nothing")


def noise(size: int = 32) -> mc.TensorTask:
    """A task whose targets are random numbers, so that batches differ."""
    targets = torch.randn(size, generator=torch.Generator().manual_seed(0))
    pair = torch.zeros(size, 1), targets
    return mc.TensorTask("noise", dict.fromkeys(("train", "eval"), pair), metric="nothing")


def ring(outputs: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """0 on the unit circle."""
    return (outputs.norm(dim=1) - 1) ** 2


def noisy_ring(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """A ring whose middle is moved by every example."""
    return ((outputs - 0.1 * targets[:, None]).norm(dim=1) - 1) ** 2


def half_circle(**settings: object) -> mc.BezierCurve:
    """A curve from (-1, 0) to (1, 0) with a bend above the middle."""
    a, b, up = places((-1.0, 0.0), (1.0, 0.0), (0.0, 0.3))
    return mc.BezierCurve([a, up, b], **settings)  # type: ignore[arg-type]


def place_of(point: mc.Adapter) -> torch.Tensor:
    """Where a point of the plane is."""
    return point.saved["place"]


class Memory:
    """Keeps states in memory; after `saves` of them the machine goes off."""

    def __init__(self, saves: int | None = None) -> None:
        self.state: FitState | None = None
        self.left = saves

    def load(self) -> FitState | None:
        """What was kept last."""
        return self.state

    def save(self, state: FitState) -> None:
        """Keep a state; fail once the count is down."""
        self.state = copy.deepcopy(state)
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise Killed


class Killed(Exception):
    """The machine went off."""
