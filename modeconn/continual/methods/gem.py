"""Gradient episodic memory: no step may raise the loss on memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import torch
from scipy.optimize import nnls

from modeconn.continual.buffer import Policy
from modeconn.continual.gradients import gradient_of_step, mean_gradient, set_gradient
from modeconn.continual.methods.replay import Replay

if TYPE_CHECKING:
    from modeconn.continual.run import Run
    from modeconn.models.encoded import EncodedTask


@dataclass
class AGEM(Replay):
    """Averaged gradient episodic memory (Chaudhry 2019, arXiv 1812.00420).

    `g <- g - min(0, <g, m>) / <m, m> * m` with g the gradient of the step and m that of the mean loss a token on a draw
    from memory, without dropout: the nearest gradient that does not raise that loss. It is worked out once a step,
    before clipping; memory adds nothing to the loss itself. The papers take that step by plain gradient descent: AdamW
    has a momentum and divides by a scale of its own, so its step may point against memory where the gradient does not.

    Attributes:
        buffer_size: Examples that the memory of all tasks holds.
        buffer_policy: "ring" gives every task the same part of it, see `ReplayBuffer`.
        memory_batch_size: Examples of a draw; None takes as many as the task's own.
    """

    buffer_policy: Policy = "ring"

    name: ClassVar[str] = "a-gem"

    def replayed(self) -> "Sequence[tuple[EncodedTask, int]]":
        """Nothing: memory gives directions, not losses."""
        return ()

    def adjust_gradients(self) -> None:
        """Turn the gradient where it points against memory."""
        groups = self.memories()
        if not groups:
            return
        weights = list(self.run.learner.weights.values())
        gradient = gradient_of_step(weights)
        found = torch.stack([mean_gradient(self.run, rows) for rows in groups])  # [K, P]
        projected = self.projected(gradient, found)
        if projected is not gradient:
            set_gradient(weights, projected)

    def memories(self) -> "list[list[tuple[EncodedTask, int]]]":
        """The groups of rows whose losses may not rise: here one, drawn from all earlier tasks."""
        drawn = self.buffer.sample(self.num_replayed)
        return [[(self.run.train_sets[task], row) for task, row in drawn]] if drawn else []

    def projected(self, gradient: torch.Tensor, memories: torch.Tensor) -> torch.Tensor:
        """The gradient `[P]` of the step after memory's `[K, P]` are heard; itself where nothing is to be done."""
        return project_onto_halfspace(gradient, memories[0])


@dataclass
class GEM(AGEM):
    """Gradient episodic memory (Lopez-Paz 2017, arXiv 1706.08840).

    `g <- argmin_h |h - g|^2 with <h, m_k> >= 0 for every earlier task k`, where m_k is the gradient of the mean loss a
    token on the memory of task k. In the dual `h = g + sum_k v_k m_k` with `v >= 0`, one unknown a task. A margin asks
    for `v >= margin` instead wherever one of the products is negative, as published: it favours earlier tasks.

    Attributes:
        memory_batch_size: Examples of each task's memory that are drawn for a step; None takes all of them, as the
            paper does: a pass over the whole memory in every step.
        margin: Called memory strength in the paper's runs, which have 0.5.
    """

    margin: float = 0.5

    name: ClassVar[str] = "gem"

    def start(self, run: "Run") -> Self:
        """With an empty memory."""
        mine = super().start(run)
        mine.check("margin", "0 or more", holds=mine.margin >= 0)
        return mine

    @property
    def num_replayed(self) -> int:
        """Examples that the memories of all earlier tasks must hold together at the end."""
        return (self.memory_batch_size or 1) * max(1, len(self.run.train_sets) - 1)

    def memories(self) -> "list[list[tuple[EncodedTask, int]]]":
        """One group for every earlier task."""
        groups: dict[int, list[tuple[EncodedTask, int]]] = {}
        for task, row in self.buffer.sample(len(self.buffer)):
            groups.setdefault(task, []).append((self.run.train_sets[task], row))
        return [groups[task][: self.memory_batch_size] for task in sorted(groups)]

    def projected(self, gradient: torch.Tensor, memories: torch.Tensor) -> torch.Tensor:
        """The nearest gradient that raises no task's loss."""
        return project_onto_cone(gradient, memories, margin=self.margin)


def project_onto_halfspace(gradient: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    """The nearest `h` to a gradient with `<h, memory> >= 0`, `[P]`; the gradient itself where it has that already.

    Args:
        gradient: `[P]`.
        memory: `[P]`.
    """
    wide = memory.double()
    product = gradient.double() @ wide
    if not product < 0:  # not a number: the trainer reports it
        return gradient
    return (gradient.double() - product / (wide @ wide) * wide).to(gradient.dtype)


def project_onto_cone(gradient: torch.Tensor, memories: torch.Tensor, *, margin: float = 0.0) -> torch.Tensor:
    """The nearest `h` to a gradient with `memories @ h >= 0`, `[P]`; the gradient itself where it has that already.

    Args:
        gradient: `[P]`.
        memories: `[K, P]`; rows may be equal.
        margin: The least that is added of every memory where anything is; above 0 `h` is no longer the nearest.
    """
    wide = memories.double()
    products = wide @ gradient.double()  # [K]
    if not bool(products.isfinite().all()) or bool((products >= 0).all()):
        return gradient
    gram = wide @ wide.T  # [K, K]
    # With v = margin + u: minimise v' gram v / 2 + products' v over u >= 0.
    above = _least(gram.cpu().numpy(), (products + margin * gram.sum(1)).cpu().numpy())
    added = torch.from_numpy(margin + above).to(wide)
    return (gradient.double() + added @ wide).to(gradient.dtype)


def _least(gram: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """`argmin over u >= 0 of u' gram u / 2 + linear' u`, `[K]`, as non-negative least squares.

    Equal memories make the Gram matrix singular, and a Cholesky factor of it fails; its other root does not.
    """
    values, vectors = np.linalg.eigh(gram)
    kept = values > values[-1] * len(values) * np.finfo(float).eps
    roots, axes = np.sqrt(values[kept]), vectors[:, kept]  # [R], [K, R]
    return nnls(roots[:, None] * axes.T, -(axes.T @ linear) / roots)[0]
