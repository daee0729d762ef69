"""What a checkpoint adds to one parameter of the base model, held as factors and never formed densely."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class LowRank:
    """One low-rank update of a parameter, `scaling * up @ down`.

    LoRA (Hu 2021, arXiv 2106.09685): `dW = s B A` with `up = B`, `down = A`. For an embedding the table is
    updated by `s (B A)^T`, so there `up = A^T`, `down = B^T`.

    Attributes:
        up: `[rows, r]`, float32.
        down: `[r, columns]`, float32.
        scaling: The factor s, no unit.
        lookup: True for an embedding table, `[num_embeddings, dim]`; False for a matrix in the orientation of
            `torch.nn.Linear`, `[out, in]`.
    """

    up: torch.Tensor
    down: torch.Tensor
    scaling: float
    lookup: bool = False


@dataclass(frozen=True, eq=False)
class Update:
    """A linear combination of low-rank updates of one parameter: `sum_k coefficients[k] * parts[k]`.

    Attributes:
        coefficients: One number a part.
        parts: The updates that are combined, of one shape, each at most once.

    Example:
        >>> part = LowRank(torch.ones(3, 1), torch.ones(1, 2), scaling=2.0)
        >>> update = Update.of(part)
        >>> combined = Update.combine([0.25, 0.5], [update, update])
        >>> combined.coefficients, combined.rank, combined.dense().tolist()
        ((0.75,), 1, [[1.5, 1.5], [1.5, 1.5], [1.5, 1.5]])
    """

    coefficients: tuple[float, ...]
    parts: tuple[LowRank, ...]

    @classmethod
    def of(cls, part: LowRank) -> "Update":
        """One part with coefficient 1."""
        return cls((1.0,), (part,))

    @classmethod
    def combine(cls, coefficients: Iterable[float], updates: Iterable["Update"]) -> "Update":
        """The combination of combinations; equal parts are merged, parts with coefficient 0 dropped."""
        weights: dict[int, float] = {}
        parts: dict[int, LowRank] = {}
        for outer, update in zip(coefficients, updates, strict=True):
            for inner, part in zip(update.coefficients, update.parts, strict=True):
                weights[id(part)] = weights.get(id(part), 0.0) + outer * inner
                parts[id(part)] = part
        kept = [key for key, weight in weights.items() if weight != 0.0]
        return cls(tuple(weights[key] for key in kept), tuple(parts[key] for key in kept))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the parameter that is updated."""
        first = self.parts[0]
        return first.up.shape[0], first.down.shape[1]

    @property
    def rank(self) -> int:
        """The sum of the parts' ranks, which bounds the rank of the update."""
        return sum(part.down.shape[0] for part in self.parts)

    @property
    def lookup(self) -> bool:
        """True for an embedding table."""
        return self.parts[0].lookup

    def factors(self, *, unit: float = 1.0, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
        """One exact pair by concatenation, `[B_0 B_1] [c_0 s_0 A_0 ; c_1 s_1 A_1]`.

        Args:
            unit: What `up @ down` is to be multiplied by to give the update; with a part's own scaling, its
                factors come back bit for bit.
            dtype: In what the product with the coefficients is rounded.

        Returns:
            `up` of shape `[rows, R]` and `down` of shape `[R, columns]`, R the sum of the ranks.
        """
        up = torch.cat([part.up.to(dtype) for part in self.parts], dim=1)  # [rows, R]
        scaled = [
            part.down.to(dtype) * (weight * part.scaling / unit)
            for weight, part in zip(self.coefficients, self.parts, strict=True)
        ]
        return up, torch.cat(scaled, dim=0)  # [rows, R], [R, columns]

    def dense(self) -> torch.Tensor:
        """The update itself, `[rows, columns]`."""
        up, down = self.factors()
        return up @ down

    def inner(self, other: "Update") -> float:
        """The Frobenius inner product of two updates, in float64, from the factors.

        `<U D, V E> = tr((U^T V)(E D^T))`: the cost is that of r x r matrices.
        """
        # Scaled in float64 as well: two near points cancel, and what float32 rounds away is then all that is left.
        up, down = self.factors(dtype=torch.float64)
        other_up, other_down = other.factors(dtype=torch.float64)
        return float(((up.T @ other_up) * (down @ other_down.T)).sum())
