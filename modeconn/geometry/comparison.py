"""Two changes of one parameter beside each other: direction, signs, and shared subspaces."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch

from modeconn.geometry.decomposition import Decomposition, decompose
from modeconn.geometry.matrices import Matrix
from modeconn.geometry.subspaces import angles

# Up to so many entries signs are compared in all; of more in a sample, whose share is off by 0.002 (one sigma) at most.
_MOST_ENTRIES, _SAMPLE = 1 << 20, 1 << 16


@dataclass(frozen=True, eq=False)
class Change:
    """One matrix of one point, decomposed once and compared often.

    Attributes:
        matrix: The matrix.
        directions: How many leading singular directions span the subspaces that are compared.
    """

    matrix: Matrix
    directions: int

    @cached_property
    def decomposition(self) -> Decomposition:
        """The singular value decomposition."""
        return decompose(self.matrix)

    @property
    def leading(self) -> Decomposition:
        """Its leading directions."""
        whole, count = self.decomposition, self.directions
        return Decomposition(whole.left[:, :count], whole.values[:count], whole.right[:, :count])

    @cached_property
    def signs(self) -> torch.Tensor:
        """The signs of its entries, or of a sample of them that is the same for all matrices of a shape, `[E]`."""
        rows, columns = self.matrix.shape
        if rows * columns <= _MOST_ENTRIES:
            return self.matrix.dense().reshape(-1).sign().to(torch.int8)
        generator = torch.Generator().manual_seed(0)
        places = [torch.randint(size, (_SAMPLE,), generator=generator) for size in (rows, columns)]
        return self.matrix.entries(*places).sign().to(torch.int8)


@dataclass(frozen=True)
class Comparison:
    """What two changes of one matrix share, as sums that add up over matrices.

    Attributes:
        inner: Their Frobenius inner product.
        squares: The squared norm of each.
        agreeing: Entries (see `Change.signs`) in which both have one sign.
        opposed: Entries in which they have opposite signs; entries where one is 0 count in neither.
        entries: All entries of the matrix.
        columns: What their column spaces share: the outputs that are written to.
        rows: What their row spaces share: the inputs that are read.
    """

    inner: float
    squares: tuple[float, float]
    agreeing: int
    opposed: int
    entries: int
    columns: "Shared | None"
    rows: "Shared | None"

    @property
    def cosine(self) -> float:
        """The cosine of the angle between the changes as vectors; NaN where one is 0."""
        norms = math.sqrt(self.squares[0] * self.squares[1])
        return self.inner / norms if norms else math.nan

    @property
    def sign_agreement(self) -> float:
        """The share of entries with one sign among those with a sign in both; 0.5 where chance decides."""
        both = self.agreeing + self.opposed
        return self.agreeing / both if both else math.nan


@dataclass(frozen=True)
class Shared:
    """What two subspaces of n dimensions share.

    Attributes:
        cosines: The sum of the squared cosines of their principal angles.
        directions: How many principal angles there are, `min(p, q)`.
        expected: What the sum is on average between random subspaces, `p q / n`.
        least_angle: The smallest principal angle, degrees.
        held: The squared norm of the first change inside of the second one's subspace, and the other way round.
    """

    cosines: float
    directions: int
    expected: float
    least_angle: float
    held: tuple[float, float]

    @property
    def overlap(self) -> float:
        """The mean squared cosine: see `projection_overlap`."""
        return self.cosines / self.directions

    @property
    def chance(self) -> float:
        """The overlap of random subspaces of these sizes."""
        return self.expected / self.directions


def compare(first: Change, second: Change) -> Comparison:
    """What two changes of one matrix share.

    The subspaces are spanned by the leading directions of each; what a subspace holds is measured of the whole change.

    Args:
        first: The one.
        second: The other, of the same shape.
    """
    one, other = first.decomposition, second.decomposition
    signs = first.signs * second.signs
    vectors = first.matrix.is_vector or second.matrix.is_vector
    empty = vectors or not (one.rank and other.rank)
    return Comparison(
        inner=one.inner(other),
        squares=(one.square, other.square),
        agreeing=int((signs > 0).sum()),
        opposed=int((signs < 0).sum()),
        entries=math.prod(first.matrix.shape),
        columns=None if empty else _shared(first, second, "left"),
        rows=None if empty else _shared(first, second, "right"),
    )


def _shared(first: Change, second: Change, side: str) -> Shared:
    """What the two column spaces ("left") or row spaces ("right") share."""
    one, other = getattr(first.leading, side), getattr(second.leading, side)  # [n, p], [n, q]
    return Shared(
        cosines=float((one.T @ other).square().sum()),
        directions=min(one.shape[1], other.shape[1]),
        expected=one.shape[1] * other.shape[1] / one.shape[0],
        least_angle=math.degrees(float(angles(one, other)[0])),
        held=(held(first.decomposition, other, side), held(second.decomposition, one, side)),
    )


def held(change: Decomposition, basis: torch.Tensor, side: str) -> float:
    """The squared norm of a change's part whose outputs ("left") or inputs ("right") lie in a subspace.

    `|Q^T dW|^2 = |Q^T U diag(s)|^2`, and `|dW Q|^2` in the same way.

    Args:
        change: The change.
        basis: Q, orthonormal, `[n, q]`.
        side: "left" or "right".
    """
    return float(((basis.T @ getattr(change, side)) * change.values).square().sum())
