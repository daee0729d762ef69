"""The simplex over several points: all their weighted means."""

import copy
import math
from collections.abc import Sequence

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.update import BaseWeights
from modeconn.errors import PathError
from modeconn.paths.chain import PolygonalChain
from modeconn.paths.combination import combination, finite_gram, spanning
from modeconn.paths.curve import check_count
from modeconn.paths.path import Space


class Simplex:
    """All weighted means of n points, `simplex(w) = sum_k w_k p_k` with `w_k >= 0` and `sum_k w_k = 1`.

    Benton 2021 (arXiv 2102.13042) looks for simplices of low loss whose corners are checkpoints, and measures them by
    their volume.

    Args:
        points: The n corners, two or more.
        space: The coordinates in which they are combined.
        base: The base's weights, such as an `AdapterModel`; needed for the volume where `dW` is a function of them.
        name: How tables call the simplex.

    Raises:
        PathError: If there are fewer than two points, or they cannot be combined in the space.
    """

    def __init__(
        self,
        points: Sequence[Adapter],
        *,
        space: Space = "weights",
        base: BaseWeights | None = None,
        name: str | None = None,
    ) -> None:
        remedy = "give two checkpoints or more"
        check_count("corners", len(points), owner="a simplex", least=2, remedy=remedy)
        self.name = name or " + ".join(point.name for point in points)
        self._chain = spanning(points, space=space, base=base, name=self.name)

    def on(self, base: BaseWeights) -> "Simplex":
        """The same simplex, with the base's weights at hand for distances and volumes."""
        return self._through(self._chain.on(base))

    def with_points(self, points: Sequence[Adapter]) -> "Simplex":
        """The same simplex with other corners in their place, as a fit moves them; n points in the same coordinates."""
        return self._through(self._chain.with_points(points))

    def _through(self, chain: PolygonalChain) -> "Simplex":
        """The same simplex with the corners of a chain."""
        moved = copy.copy(self)
        moved._chain = chain
        return moved

    @property
    def chain(self) -> PolygonalChain:
        """The corners as a path, which combines them: `chain.point(weights, name)`."""
        return self._chain

    @property
    def points(self) -> tuple[Adapter, ...]:
        """The corners, in the coordinates of the space."""
        return self._chain.points

    @property
    def space(self) -> Space:
        """The coordinates in which the corners are combined."""
        return self._chain.space

    @property
    def gram(self) -> torch.Tensor:
        """Inner products of the corners, `[n, n]`, float64."""
        return self._chain.gram

    def __call__(self, weights: Sequence[float] | torch.Tensor) -> Adapter:
        """The weighted mean of the corners; a corner itself where its weight is 1.

        Args:
            weights: Barycentric coordinates, `[n]`: not negative, their sum 1 (to 1e-6).

        Raises:
            PathError: If they are not.
        """
        row = torch.as_tensor(weights, dtype=torch.float64)
        total, shown = float(row.sum()), [round(value, 4) for value in row.reshape(-1).tolist()]
        if row.shape != (len(self.points),) or not (row >= 0).all() or not abs(total - 1) <= 1e-6:
            raise PathError(
                f"the weights do not name a point of the simplex {self.name!r}",
                expected=f"{len(self.points)} numbers, none negative, that sum to 1",
                got=f"shape {list(row.shape)}, sum {total:g}: {shown}",
                remedy="divide the weights by their sum; sample() gives uniform ones",
            )
        row = row / total
        return combination(self._chain, row, name=f"{self.name} at {', '.join(f'{value:.3g}' for value in row)}")

    def sample(self, num_samples: int, *, generator: torch.Generator) -> torch.Tensor:
        """Barycentric coordinates of points drawn uniformly from the simplex, Dirichlet(1, ..., 1).

        Exponential numbers divided by their sum.

        Args:
            num_samples: S.
            generator: Where the random numbers come from, on the CPU.

        Returns:
            `[S, n]`, float64, each row a `weights` of a call.

        Raises:
            PathError: If the number is negative.
        """
        check_count("samples", num_samples, owner="a simplex", least=0, remedy="give the number of points to draw")
        shape = num_samples, len(self.points)
        drawn = torch.empty(shape, dtype=torch.float64).exponential_(generator=generator)
        return drawn / drawn.sum(dim=1, keepdim=True)

    @property
    def volume(self) -> float:
        """The (n - 1)-dimensional volume, by the determinant of Cayley and Menger of the squared distances.

        `V^2 = (-1)^n det [[0, 1'], [1, D]] / (2^m (m!)^2)` with `m = n - 1` and `D_kl = |p_k - p_l|^2`; the unit is
        that of an L2 norm to the power m. Corners that lie in fewer dimensions have volume 0, up to rounding.

        Raises:
            PathError: If a corner holds NaN or infinity.
        """
        gram = finite_gram(self._chain)
        squares = gram.diagonal()
        distances = (squares[:, None] + squares[None, :] - 2 * gram).fill_diagonal_(0.0).clamp(min=0.0)  # [n, n]
        largest = float(distances.max())
        if largest == 0.0:
            return 0.0
        size, dimension = len(self.points), len(self.points) - 1
        bordered = torch.ones(size + 1, size + 1, dtype=torch.float64)
        bordered[0, 0] = 0.0
        bordered[1:, 1:] = distances / largest  # of the size of the border, whatever the unit
        sign, log_size = torch.linalg.slogdet(bordered)
        if float(sign) * (-1) ** size <= 0:
            return 0.0
        log_square = float(log_size) - dimension * math.log(2) - 2 * math.lgamma(size) + dimension * math.log(largest)
        return math.exp(log_square / 2)

    def __repr__(self) -> str:
        return f"Simplex({self.name!r}, space={self.space!r}, points={len(self.points)})"
