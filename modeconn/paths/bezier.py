"""Bezier curves: polynomials through two ends, drawn towards the bends between them."""

import math
from collections.abc import Sequence

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.heads import Heads
from modeconn.errors import PathError
from modeconn.paths.curve import check_count, curve_name, derived
from modeconn.paths.path import Space
from modeconn.paths.straight import Bent

MAX_BENDS = 16


class BezierCurve(Bent):
    """A Bezier curve of degree K - 1, `path(t) = sum_k C(n, k) t^k (1 - t)^(n - k) p_k` with n = K - 1.

    The curve of Garipov 2018 (arXiv 1802.10026) has one bend: `(1 - t)^2 p_0 + 2 t (1 - t) p_1 + t^2 p_2`. Without a
    bend it is the line.

    Args:
        points: The K control points: start, bends, end.
        space: The coordinates in which they are combined.
        name: How tables call the path; "bezier start -> end" by default.
        heads: Whose head counts where the points' differ, as in `Path`.

    Raises:
        PathError: If there are fewer than 2 or more than 18 points, or they cannot be combined in the space.
    """

    label = "bezier"

    def __init__(
        self,
        points: Sequence[Adapter],
        *,
        space: Space = "weights",
        name: str | None = None,
        heads: Heads | None = None,
    ) -> None:
        check_count(
            "control points on one Bezier curve",
            len(points),
            least=2,
            most=MAX_BENDS + 2,
            remedy="give both ends; join more bends in a PiecewiseBezier or a PolygonalChain",
        )
        super().__init__(points, space=space, name=curve_name(self.label, points, name), heads=heads)

    @classmethod
    def _check_bends(cls, num_bends: int) -> None:
        """Raise unless there are 0 to 16."""
        remedy = "choose fewer bends, or join several curves in a PiecewiseBezier"
        check_count("bends on one Bezier curve", num_bends, least=0, most=MAX_BENDS, remedy=remedy)

    @property
    def degree(self) -> int:
        """The degree of the polynomial, K - 1."""
        return len(self.points) - 1

    def coefficients(self, t: torch.Tensor) -> torch.Tensor:
        """The Bernstein polynomials, `[T] -> [T, K]`."""
        return bernstein(t, self.degree)

    def derivative(self, t: torch.Tensor) -> torch.Tensor:
        """Their derivatives, `[T] -> [T, K]`."""
        return bernstein_derivative(t, self.degree)

    def reversed(self) -> "BezierCurve":
        """The same curve from end to start: `reversed(t) = curve(1 - t)`."""
        return derived(self, BezierCurve, _identity(self.degree).flip(0), name=f"{self.name} reversed")

    def elevated(self) -> "BezierCurve":
        """The same curve with one more bend.

        `q_k = k / (n + 1) p_{k-1} + (1 - k / (n + 1)) p_k`: the polynomial does not change.

        Raises:
            PathError: If the curve has 16 bends already.
        """
        remedy = "go on with several curves in a PiecewiseBezier"
        check_count("bends on one Bezier curve", self.degree, least=0, most=MAX_BENDS, remedy=remedy)
        return derived(self, BezierCurve, elevation(self.degree), name=self.name)

    def split(self, t: float) -> tuple["BezierCurve", "BezierCurve"]:
        """The curve before and after a position, each a curve of the same degree over its own [0, 1].

        De Casteljau's construction: `left(s) = curve(s t)`, `right(s) = curve(t + s (1 - t))`.

        Args:
            t: Where to cut, between 0 and 1.

        Raises:
            PathError: If a piece would have no length in t.
        """
        if not 0 < t < 1:
            raise PathError(
                f"cannot split the path {self.name!r} at t={t:g}",
                expected="0 < t < 1",
                got=f"t = {t:g}",
                remedy="cut between the ends",
            )
        left, right = _split_matrices(t, self.degree)
        return (
            derived(self, BezierCurve, left, name=f"{self.name} up to t={t:g}"),
            derived(self, BezierCurve, right, name=f"{self.name} from t={t:g}"),
        )


def bernstein(t: torch.Tensor, degree: int) -> torch.Tensor:
    """The Bernstein polynomials `C(n, k) t^k (1 - t)^(n - k)`, `[T] -> [T, n + 1]`, float64.

    Products of non-negative numbers: each is right to a few units in the last place, and nothing cancels. At t = 0
    and t = 1 they are exactly 0 and 1, because `0 ** 0` is 1.

    Args:
        t: Positions, `[T]`.
        degree: n.

    Example:
        >>> bernstein(torch.tensor([0.0, 0.25]), 2).tolist()
        [[1.0, 0.0, 0.0], [0.5625, 0.375, 0.0625]]
    """
    t = t.double().unsqueeze(1)  # [T, 1]
    power = torch.arange(degree + 1, dtype=torch.float64, device=t.device)  # [K]
    counts = torch.tensor([math.comb(degree, k) for k in range(degree + 1)], dtype=torch.float64, device=t.device)
    return counts * t**power * (1 - t) ** (degree - power)  # [T, K]


def bernstein_derivative(t: torch.Tensor, degree: int) -> torch.Tensor:
    """Their derivatives, `B'_{k,n} = n (B_{k-1,n-1} - B_{k,n-1})`, `[T] -> [T, n + 1]`, float64.

    Args:
        t: Positions, `[T]`.
        degree: n, at least 1.
    """
    lower = bernstein(t, degree - 1)  # [T, n]
    nothing = lower.new_zeros(len(lower), 1)
    return degree * (torch.cat([nothing, lower], dim=1) - torch.cat([lower, nothing], dim=1))  # [T, n + 1]


def elevation(degree: int) -> torch.Tensor:
    """The matrix that raises a curve's degree n by one, `[n + 2, n + 1]`, float64.

    Example:
        >>> elevation(1).tolist()
        [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    share = torch.arange(degree + 2, dtype=torch.float64) / (degree + 1)  # [n + 2]
    matrix = torch.zeros(degree + 2, degree + 1, dtype=torch.float64)
    matrix[1:] += torch.diag(share[1:])
    matrix[:-1] += torch.diag(1 - share[:-1])
    return matrix


def _split_matrices(t: float, degree: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The matrices from the control points to those of both pieces, `[n + 1, n + 1]` each."""
    position = torch.tensor([t], dtype=torch.float64)
    left, right = torch.zeros(2, degree + 1, degree + 1, dtype=torch.float64)
    for k in range(degree + 1):  # the k-th step of de Casteljau's triangle is a Bernstein row of degree k
        row = bernstein(position, k)[0]  # [k + 1]
        left[k, : k + 1] = row
        right[degree - k, degree - k :] = row
    return left, right


def _identity(degree: int) -> torch.Tensor:
    """Every control point as it is."""
    return torch.eye(degree + 1, dtype=torch.float64)
