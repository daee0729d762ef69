"""The singular value decomposition of a change, from its factors where it has factors."""

from dataclasses import dataclass

import torch

from modeconn.geometry.matrices import Matrix

_ROUNDING = torch.finfo(torch.float32).eps  # points are float32: below this share of the largest, a value is rounding
_CANCELLED = 64 * torch.finfo(torch.float64).eps  # of the factors' sizes: what is left where two updates cancel


@dataclass(frozen=True, eq=False)
class Decomposition:
    """`dW = U diag(s) V^T` without the directions that are rounding; all float64.

    Attributes:
        left: U, an orthonormal basis of the column space (the outputs that are written to), `[rows, r]`.
        values: s, decreasing and positive, `[r]`.
        right: V, an orthonormal basis of the row space (the inputs that are read), `[columns, r]`.
    """

    left: torch.Tensor
    values: torch.Tensor
    right: torch.Tensor

    @property
    def rank(self) -> int:
        """r, the numerical rank."""
        return len(self.values)

    @property
    def square(self) -> float:
        """`|dW|^2`, the squared Frobenius norm."""
        return float(self.values.square().sum())

    def inner(self, other: "Decomposition") -> float:
        """The Frobenius inner product with another, `sum (U^T U') * (s V^T V' s')`."""
        outputs = self.left.T @ other.left  # [r, r']
        inputs = self.values[:, None] * (self.right.T @ other.right) * other.values  # [r, r']
        return float((outputs * inputs).sum())


def decompose(matrix: Matrix) -> Decomposition:
    """The singular value decomposition of a matrix.

    With factors it takes two QR decompositions, `B = Q_B R_B` and `A^T = Q_A R_A`, and the decomposition of the small
    core `R_B R_A^T`: the product `B A` is never formed.

    Args:
        matrix: The change.

    Example:
        >>> found = decompose(Matrix(torch.tensor([[2.0], [0.0]]).double(), torch.tensor([[0.0, 3.0]]).double()))
        >>> found.rank, found.values.tolist()
        (1, [6.0])
    """
    if matrix.down is None:
        left, values, right = torch.linalg.svd(matrix.up, full_matrices=False)
        # A sum of float32 products has a rounding in every entry, whose norm grows with the root of their number.
        floor = _ROUNDING * max(matrix.shape) ** 0.5 * _largest(values)
        return _kept(left, values, right.T, floor)
    basis_up, triangle_up = torch.linalg.qr(matrix.up)  # [rows, k], [k, R]
    basis_down, triangle_down = torch.linalg.qr(matrix.down.T)  # [columns, m], [m, R]
    left, values, right = torch.linalg.svd(triangle_up @ triangle_down.T, full_matrices=False)
    cancelled = _CANCELLED * float(triangle_up.norm() * triangle_down.norm())
    return _kept(basis_up @ left, values, basis_down @ right.T, max(_ROUNDING * _largest(values), cancelled))


def _largest(values: torch.Tensor) -> float:
    """The first of decreasing numbers; 0 of none."""
    return float(values[0]) if len(values) else 0.0


def _kept(left: torch.Tensor, values: torch.Tensor, right: torch.Tensor, floor: float) -> Decomposition:
    """The directions whose value is above a floor."""
    rank = int((values > floor).sum())
    return Decomposition(left[:, :rank], values[:rank], right[:, :rank])
