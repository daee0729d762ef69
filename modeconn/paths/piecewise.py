"""Several Bezier curves in a row, each beginning where the one before it ends."""

from collections.abc import Sequence
from typing import Self

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.heads import Heads
from modeconn.errors import PathError
from modeconn.paths.bezier import MAX_BENDS, BezierCurve, bernstein, bernstein_derivative, elevation
from modeconn.paths.curve import Curve, check_count, curve_name, derived
from modeconn.paths.path import Space
from modeconn.paths.straight import straight


class Segmented(Curve):
    """S polynomial pieces of one degree n in a row: what piecewise curves and chains have in common.

    Args:
        points: The `S n + 1` control points.
        degree: n.
        space: The coordinates in which they are combined.
        name: How tables call the path.
        heads: Whose head counts.
    """

    def __init__(
        self, points: Sequence[Adapter], degree: int, *, space: Space, name: str | None, heads: Heads | None
    ) -> None:
        super().__init__(points, space=space, name=name, heads=heads)
        self.degree = degree

    @property
    def num_segments(self) -> int:
        """S, the number of curves."""
        return (len(self.points) - 1) // self.degree

    @property
    def joints(self) -> tuple[float, ...]:
        """Where one curve ends and the next begins, `1/S, 2/S, ...`."""
        return tuple(number / self.num_segments for number in range(1, self.num_segments))

    @property
    def segments(self) -> tuple[BezierCurve, ...]:
        """The curves, each over its own [0, 1]."""
        every = torch.eye(len(self.points), dtype=torch.float64)
        return tuple(
            derived(
                self,
                BezierCurve,
                every[number * self.degree : (number + 1) * self.degree + 1],
                name=f"{self.name} part {number + 1} of {self.num_segments}",
            )
            for number in range(self.num_segments)
        )

    def coefficients(self, t: torch.Tensor) -> torch.Tensor:
        """The Bernstein polynomials of the curve that t lies on, 0 for the points of others, `[T] -> [T, K]`."""
        number, local, _ = self._located(t)
        return self._spread(number, bernstein(local, self.degree))

    def derivative(self, t: torch.Tensor) -> torch.Tensor:
        """Their derivatives with respect to t, `[T] -> [T, K]`."""
        number, local, width = self._located(t)
        return self._spread(number, bernstein_derivative(local, self.degree) / width.unsqueeze(1))

    def reversed(self) -> Self:
        """The same path from end to start: `reversed(t) = path(1 - t)`."""
        matrix = torch.eye(len(self.points), dtype=torch.float64).flip(0)
        return derived(self, type(self), matrix, name=f"{self.name} reversed")

    def elevated(self) -> "PiecewiseBezier":
        """The same path with one more bend on every curve.

        Raises:
            PathError: If the curves have 16 bends already.
        """
        _check_degree(self.degree + 1)
        size = self.degree + 1
        matrix = torch.zeros(self.num_segments * size + 1, len(self.points), dtype=torch.float64)
        for number in range(self.num_segments):  # a joint's row is written twice, the same both times
            first = number * self.degree
            matrix[number * size : (number + 1) * size + 1, first : first + size] = elevation(self.degree)
        return derived(self, PiecewiseBezier, matrix, name=self.name, degree=self.degree + 1)

    def _located(self, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The curve that t lies on, the position on it and its width in t, `[T]` each."""
        t = t.double()
        # Measured from the joints as floats, so that path(joint) is the very joint: 1/49 * 49 is not 1.
        knots = torch.tensor([0.0, *self.joints, 1.0], dtype=torch.float64, device=t.device)  # [S + 1]
        number = (torch.searchsorted(knots, t.contiguous(), right=True) - 1).clamp(0, self.num_segments - 1)
        width = knots[number + 1] - knots[number]
        return number, (t - knots[number]) / width, width

    def _spread(self, number: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Rows over the points of one curve, `[T, n + 1]`, as rows over all points, `[T, K]`."""
        columns = (number * self.degree).unsqueeze(1) + torch.arange(self.degree + 1, device=rows.device)
        return rows.new_zeros(len(rows), len(self.points)).scatter_(1, columns, rows)


class PiecewiseBezier(Segmented):
    """S Bezier curves of one degree n with shared joints; curve i covers t from i / S to (i + 1) / S.

    The `K = S n + 1` control points lie in the order of the path: joint, n - 1 bends, joint, and so on. Joints between
    two curves are free points like the bends, so a fitted path has kinks there.

    Args:
        points: The K control points.
        degree: n, the degree of every curve.
        space: The coordinates in which they are combined.
        name: How tables call the path; "piecewise-bezier start -> end" by default.
        heads: Whose head counts where the points' differ, as in `Path`.

    Raises:
        PathError: If the degree is not 1 to 17, or the points are not `S n + 1`.
    """

    def __init__(
        self,
        points: Sequence[Adapter],
        degree: int,
        *,
        space: Space = "weights",
        name: str | None = None,
        heads: Heads | None = None,
    ) -> None:
        _check_degree(degree)
        if len(points) < degree + 1 or (len(points) - 1) % degree:
            raise PathError(
                f"{len(points)} points do not make curves of degree {degree} with shared joints",
                expected=f"{degree + 1}, {2 * degree + 1}, {3 * degree + 1}, ... points",
                got=f"{len(points)}",
                remedy="give every joint once, and the same number of bends between any two",
            )
        super().__init__(points, degree, space=space, name=curve_name("piecewise-bezier", points, name), heads=heads)

    @classmethod
    def between(
        cls,
        start: Adapter,
        end: Adapter,
        *,
        num_segments: int = 2,
        degree: int = 2,
        space: Space = "weights",
        name: str | None = None,
        heads: Heads | None = None,
        bend_rank: int | None = None,
    ) -> "PiecewiseBezier":
        """The path whose joints and bends lie evenly on the line, so that it is the line.

        Args:
            start: The point at t = 0.
            end: The point at t = 1.
            num_segments: S, the number of curves, from 1.
            degree: n, the degree of each.
            space: The coordinates.
            name: How tables call the path.
            heads: Whose head counts where the ends' differ, as in `Path`.
            bend_rank: The rank of every bend and joint, in weights space. `r_0 + r_1` by default, which holds the line
                exactly. Of a smaller one the bends are the nearest to the line's points, so that the path is not
                quite the line; of a larger one it is the line, with more directions in which it can leave it.

        Raises:
            PathError: If the degree, the number of curves or the rank is out of range, or the rank cannot be chosen.
        """
        _check_degree(degree)
        check_count("segments", num_segments, least=1, remedy="give the number of curves in a row")
        options = {"space": space, "name": name, "heads": heads, "bend_rank": bend_rank}
        num_points = num_segments * degree + 1
        return straight(PiecewiseBezier, "piecewise-bezier", (start, end), num_points, degree=degree, **options)


def _check_degree(degree: int) -> None:
    """Raise unless a curve can have this degree."""
    remedy = "use degree 2 for one bend a curve, and more curves for more bends"
    check_count("as the degree of its curves", degree, least=1, most=MAX_BENDS + 1, remedy=remedy)
