"""One pair of low-rank factors and its gauge: `(B G, G^-1 A)` is the same update for every invertible G."""

import math
from typing import NamedTuple

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.update import FACTORS_OF_BASE
from modeconn.errors import AdapterError


class Factors(NamedTuple):
    """One pair of factors of an update, `dW = up @ down`.

    Attributes:
        up: `[rows, r]`, float64.
        down: `[r, columns]`, float64.
    """

    up: torch.Tensor
    down: torch.Tensor

    @property
    def rank(self) -> int:
        """The number of columns of `up`, which bounds the rank of the update."""
        return self.down.shape[0]

    def zero(self) -> "Factors":
        """Factors of the same shapes and of no update."""
        return Factors(torch.zeros_like(self.up), torch.zeros_like(self.down))

    def padded(self, rank: int) -> "Factors":
        """The same update with columns of zeros in `up` and rows of zeros in `down`, up to a rank."""
        columns = self.up.new_zeros(self.up.shape[0], rank - self.rank)
        rows = self.down.new_zeros(rank - self.rank, self.down.shape[1])
        return Factors(torch.cat([self.up, columns], dim=1), torch.cat([self.down, rows], dim=0))

    def rotated(self, rotation: torch.Tensor) -> "Factors":
        """The same update as `(B Q, Q^T A)`, with Q orthogonal, `[r, r]`."""
        return Factors(self.up @ rotation, rotation.T @ self.down)

    def minus(self, other: "Factors") -> "Factors":
        """Factors of the difference of the updates, by concatenation: the rank is the sum of the ranks."""
        return Factors(torch.cat([self.up, other.up], dim=1), torch.cat([self.down, -other.down], dim=0))

    def norm(self) -> float:
        """The Frobenius norm of the update, `|R_B R_A^T|` with the triangles of the factors' QR decompositions.

        Unlike `Update.inner`, which squares, it keeps its digits where two updates nearly cancel.
        """
        return float((_triangle(self.up) @ _triangle(self.down.T).T).norm())


def factors_of(point: Adapter, parameter: str, *, rank: int | None = None) -> Factors:
    """A point's factors of one parameter, with the scaling folded in, its square root into each.

    Args:
        point: The point.
        parameter: One of its updates.
        rank: To which rank to pad with zeros; the update's own by default.

    Raises:
        AdapterError: If a part of the update has no factors.
    """
    update = point.updates[parameter]
    if not update.low_rank:
        raise AdapterError(
            f"the update of {parameter} in {point.name} has no gauge that could be aligned or changed",
            expected="low-rank factors, as LoRA has them",
            got=", ".join(sorted({type(part).__name__ for part in update.parts})),
            remedy=(f"{FACTORS_OF_BASE}; otherwise " if update.needs_base else "")
            + 'join it in space="weights", which no gauge changes',
        )
    weights = [c * part.scaling for c, part in zip(update.coefficients, update.low_rank, strict=True)]
    pairs = list(zip(weights, update.low_rank, strict=True))
    up = [part.up.double() * math.sqrt(abs(weight)) for weight, part in pairs]
    down = [part.down.double() * math.copysign(math.sqrt(abs(weight)), weight) for weight, part in pairs]
    factors = Factors(torch.cat(up, dim=1), torch.cat(down, dim=0))  # [rows, R], [R, columns]
    return factors if rank is None else factors.padded(rank)


def balanced(factors: Factors) -> Factors:
    """The pair `(U S^1/2, S^1/2 V^T)` of the same update `U S V^T`, of the same rank.

    It has `B^T B = A A^T = S`, and the least `|B|^2 + |A|^2` of all pairs of that update: twice its nuclear norm.
    The cost is two QR decompositions of the factors and one SVD of an r x r core; dW is never formed.

    Args:
        factors: Any pair.
    """
    basis_up, triangle_up = torch.linalg.qr(factors.up)  # [rows, k], [k, r]
    basis_down, triangle_down = torch.linalg.qr(factors.down.T)  # [columns, m], [m, r]
    left, values, right = torch.linalg.svd(triangle_up @ triangle_down.T, full_matrices=False)
    # What is below the rounding of float32 factors is no direction, and its root would be far above that rounding.
    values = torch.where(values > torch.finfo(torch.float32).eps * values[0], values, 0.0)
    roots = values.sqrt()
    return Factors((basis_up @ left) * roots, roots[:, None] * (right @ basis_down.T)).padded(factors.rank)


def nearest_rotation(factors: Factors, *, to: Factors) -> torch.Tensor:
    """The orthogonal Q, `[r, r]`, with the least `|B Q - B_to|^2 + |Q^T A - A_to|^2`.

    `Q = U V^T` of the SVD of `B^T B_to + A A_to^T` (orthogonal Procrustes, Schoenemann 1966). Where singular values
    are equal this still is the one nearest Q; where some are zero several are equally near, and one of them is given.

    Args:
        factors: What is rotated.
        to: What it is rotated onto, of the same shapes.
    """
    left, _, right = torch.linalg.svd(factors.up.T @ to.up + factors.down @ to.down.T)
    return left @ right


def random_gauge(rank: int, strength: float, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A random `G = Q_1 diag(exp(strength * u)) Q_2`, `[r, r]` float64, and its inverse.

    Args:
        rank: r.
        strength: With u uniform in [-1, 1], the condition number is at most `exp(2 * strength)`; 0 is orthogonal.
        generator: Where the random numbers come from.
    """
    left, right = (_random_rotation(rank, generator) for _ in range(2))
    values = torch.exp(strength * (2 * torch.rand(rank, generator=generator, dtype=torch.float64) - 1))
    return (left * values) @ right, (right.T / values) @ left.T


def _random_rotation(rank: int, generator: torch.Generator) -> torch.Tensor:
    """An orthogonal matrix, uniformly distributed, `[r, r]`, float64."""
    basis, triangle = torch.linalg.qr(torch.randn(rank, rank, generator=generator, dtype=torch.float64))
    # QR leaves the columns' signs to LAPACK; with a positive diagonal Q is uniform (Mezzadri 2007, math-ph/0609050).
    return basis * triangle.diagonal().sign()


def _triangle(matrix: torch.Tensor) -> torch.Tensor:
    """The triangle R of the QR decomposition."""
    return torch.linalg.qr(matrix, mode="r").R
