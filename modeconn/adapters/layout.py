"""The names, shapes and order of a point's tensors: how an adapter becomes one vector and back."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from modeconn.errors import AdapterError, listed


@dataclass(frozen=True)
class Layout:
    """How a set of named tensors lies in one vector of length P.

    Attributes:
        shapes: Tensor names and shapes in the order in which they lie in the vector.
        constants: Names of tensors that lie in no vector and must be equal, with the hash of their numbers.

    Example:
        >>> layout = Layout.of({"b": torch.zeros(2), "a": torch.ones(2, 2)})
        >>> layout.num_parameters, [name for name, _ in layout.shapes]
        (6, ['a', 'b'])
        >>> layout.pack({"a": torch.ones(2, 2), "b": torch.zeros(2)})
        tensor([1., 1., 1., 1., 0., 0.])
    """

    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    constants: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor], *, constants: tuple[str, ...] = ()) -> "Layout":
        """The layout of named tensors, in the order of their names.

        Args:
            tensors: Names -> tensors.
            constants: Endings of the names of tensors that are no coordinates (see `Kind.constants`).
        """
        fixed = [name for name in sorted(tensors) if constants and name.endswith(constants)]
        free = [name for name in sorted(tensors) if name not in fixed]
        return cls(
            tuple((name, tuple(tensors[name].shape)) for name in free),
            tuple((name, _digest(tensors[name])) for name in fixed),
        )

    @property
    def num_parameters(self) -> int:
        """P, the length of the vector."""
        return sum(math.prod(shape) for _, shape in self.shapes)

    def pack(self, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Named tensors as one vector, `[P]`."""
        fixed = dict(self.constants)
        moving = {name: value for name, value in tensors.items() if name not in fixed}
        Layout(self.shapes).check(Layout.of(moving), "the tensors")
        return torch.cat([tensors[name].reshape(-1) for name, _ in self.shapes])  # [P]

    def unpack(self, vector: torch.Tensor) -> dict[str, torch.Tensor]:
        """A vector `[P]` as named tensors, which are views of it.

        Raises:
            AdapterError: If the vector's length is not P.
        """
        if vector.shape != (self.num_parameters,):
            raise AdapterError(
                "a vector does not fit a layout",
                expected=f"shape [{self.num_parameters}]",
                got=f"shape {list(vector.shape)}",
                remedy="take the vector from an adapter of the same layout",
            )
        sizes = [math.prod(shape) for _, shape in self.shapes]
        pieces = vector.split(sizes)
        return {name: piece.view(shape) for (name, shape), piece in zip(self.shapes, pieces, strict=True)}

    def check(self, other: "Layout", what: str) -> None:
        """Raise an `AdapterError` that names the differences unless `other` is this layout.

        Args:
            other: The layout that should be this one.
            what: How the message names the holder of `other`.
        """
        if self == other:
            return
        mine, theirs = dict(self.shapes), dict(other.shapes)
        differences = [f"{name} missing" for name in mine.keys() - theirs.keys()]
        differences += [f"{name} unexpected" for name in theirs.keys() - mine.keys()]
        differences += [
            f"{name} {list(theirs[name])} instead of {list(mine[name])}"
            for name in mine.keys() & theirs.keys()
            if mine[name] != theirs[name]
        ]
        fixed, others = dict(self.constants), dict(other.constants)
        differences += [f"{name}, with other numbers" for name in fixed | others if fixed.get(name) != others.get(name)]
        raise AdapterError(
            f"{what} and the first point have different layouts",
            expected=f"{len(mine)} tensors of the same names and shapes",
            got=listed(differences),
            remedy='join points of different ranks or modules in space="weights"',
        )


def _digest(tensor: torch.Tensor) -> str:
    """SHA-256 in hex of a tensor of whole numbers, whatever their dtype."""
    whole = tensor.detach().cpu().long().contiguous()
    return hashlib.sha256(f"{tuple(whole.shape)}".encode() + whole.numpy().tobytes()).hexdigest()
