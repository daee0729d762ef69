"""Random matrices that all modules of an adapter share: read from its file, or drawn anew."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch

from modeconn.adapters.kinds.kind import Unread
from modeconn.adapters.part import BaseWeights, linear_shape
from modeconn.errors import AdapterError

Pair = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Recipe(ABC):
    """How the two shared matrices are drawn anew where the file does not hold them.

    Attributes:
        seed: `projection_prng_key`.
        rank: r.
        modules: All modules of the adapter: the largest decides the sizes, and with them every number that is drawn.
    """

    seed: int
    rank: int
    modules: tuple[str, ...]
    _drawn: dict[tuple[int, int], Pair] = field(default_factory=dict, init=False, repr=False, compare=False)

    def within(self, base: BaseWeights) -> Pair:
        """A and B for a base, drawn once for each pair of sizes."""
        shapes = [linear_shape(base, f"{module}.weight") for module in self.modules]
        rows, columns = (max(sizes) for sizes in zip(*shapes, strict=True))
        if (rows, columns) not in self._drawn:
            self._drawn[rows, columns] = self.draw(rows, columns)
        return self._drawn[rows, columns]

    @abstractmethod
    def draw(self, rows: int, columns: int) -> Pair:
        """A and B as PEFT draws them.

        Args:
            rows: The largest number of outputs of a module.
            columns: The largest number of inputs of a module.
        """


def take_shared(unread: Unread, name: str, rank: int, *, ndim: int, axis: int) -> torch.Tensor:
    """One of the shared matrices, which lie beside the model and not in it.

    Args:
        unread: The file's tensors.
        name: The matrix's, after "base_model.".
        rank: r.
        ndim: How many dimensions it has.
        axis: Which of them is of size r.

    Raises:
        AdapterError: If it is not there, or of another shape.
    """
    matrix = unread.rest.pop(f"base_model.{name}", None)
    if matrix is None or matrix.ndim != ndim or matrix.shape[axis] != rank:
        raise AdapterError(
            f"{unread.config.origin} lacks the random matrix that its modules share",
            expected=f"base_model.{name} of rank {rank}, as save_projection is true",
            got="no such tensor" if matrix is None else f"one of shape {list(matrix.shape)}",
            remedy="use the adapter_config.json that was saved with these weights",
        )
    return matrix
