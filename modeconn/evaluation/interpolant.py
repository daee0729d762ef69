"""A profile as a function of t: polynomials between the joints of a path, and what follows from them exactly."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.polynomial import Chebyshev
from numpy.typing import ArrayLike

from modeconn.errors import EvaluationError
from modeconn.evaluation.barrier import Barrier, Baseline, check_baseline, without_rounding
from modeconn.paths.curve import speed
from modeconn.paths.lengths import LengthTable
from modeconn.paths.path import Path

_NEGLIGIBLE = 1e-12  # of the largest coefficient: below, a leading term moves roots only by rounding


class Extreme(NamedTuple):
    """The highest or lowest place of a profile.

    Attributes:
        t: Where it is; the first of several.
        value: The loss there.
    """

    t: float
    value: float


class Interpolant:
    """A loss along a path as one polynomial for each smooth piece; continuous, with kinks at the joints.

    Args:
        pieces: Polynomials on neighbouring intervals from 0 to 1, in order.

    Example:
        >>> from modeconn.evaluation.chebyshev import nodes, through
        >>> curve = Interpolant([through(np.square(np.array(nodes(4)) - 0.25), 0.0, 1.0)])
        >>> round(curve(0.5), 12), round(curve.derivative(0.5), 12), round(curve.integral(), 12)
        (0.0625, 0.5, 0.145833333333)
    """

    def __init__(self, pieces: Sequence[Chebyshev]) -> None:
        self.pieces = tuple(pieces)
        self._starts = np.array([piece.domain[0] for piece in self.pieces])  # [S]

    @property
    def joints(self) -> tuple[float, ...]:
        """The positions in (0, 1) where one polynomial ends and the next begins."""
        return tuple(self._starts[1:].tolist())

    @property
    def degree(self) -> int:
        """The highest degree of a piece."""
        return max(len(piece.coef) for piece in self.pieces) - 1

    def __call__(self, t: ArrayLike) -> np.ndarray | float:
        """The loss at positions, `[T] -> [T]`; of a number, a number.

        Raises:
            EvaluationError: If a position is outside of [0, 1].
        """
        return self._of(t, list(self.pieces))

    def derivative(self, t: ArrayLike, *, order: int = 1) -> np.ndarray | float:
        """The derivative with respect to t, `[T] -> [T]`; at a joint, that of the piece on its right.

        Args:
            t: Positions.
            order: 1, or 2 for the second derivative, and so on.

        Raises:
            EvaluationError: If a position is outside of [0, 1].
        """
        return self._of(t, [piece.deriv(order) for piece in self.pieces])

    def maximum(self) -> Extreme:
        """The highest place, between the nodes too: the best of the roots of the derivative and the pieces' ends."""
        t = self._stationary()
        values = np.asarray(self(t))
        return Extreme(float(t[values.argmax()]), float(values.max()))

    def minimum(self) -> Extreme:
        """The lowest place, between the nodes too."""
        t = self._stationary()
        values = np.asarray(self(t))
        return Extreme(float(t[values.argmin()]), float(values.min()))

    def barrier(self, baseline: Baseline = "chord") -> Barrier:
        """The highest place above the chord of the ends or above their mean, as `modeconn.barrier` defines them.

        What is within 1e-12 of the largest loss is taken for rounding, as there.

        Args:
            baseline: "chord" or "mean".

        Raises:
            EvaluationError: If the baseline is unknown.
        """
        check_baseline(baseline)
        start, end = (float(self(t)) for t in (0.0, 1.0))
        slope = end - start if baseline == "chord" else 0.0
        t = self._stationary(slope)
        floor = (1 - t) * start + t * end if baseline == "chord" else (start + end) / 2
        values = np.asarray(self(t))
        above = without_rounding(values - floor, values)
        return Barrier(float(above.max()), float(t[above.argmax()]))

    def integral(self) -> float:
        """The mean over t, `int_0^1 L(t) dt`."""
        return sum(float(_area(piece)) for piece in self.pieces)

    def mean_over_length(self, path: Path) -> float:
        """The mean over the length of the path, `int_0^1 L(t) |path'(t)| dt / length` (Garipov 2018, 1802.10026).

        Gauss-Legendre panels on which the length itself is right to 1e-11, with nodes enough for the polynomial.

        Args:
            path: The path that was evaluated, `path.on(model)` where its updates are functions of the base's weights.

        Raises:
            EvaluationError: If the path has no length.
            PathError: If the length is not finite.
        """
        edges = LengthTable.of(path).edges.numpy()
        points, weights = np.polynomial.legendre.leggauss(self.degree // 2 + 16)
        half = np.diff(edges)[:, None] / 2  # [E, 1]
        t = edges[:-1, None] + half * (1 + points)  # [E, Q]
        share = half * weights * speed(path, torch.from_numpy(t.reshape(-1))).numpy().reshape(t.shape)
        if not share.sum() > 0:
            raise EvaluationError(
                f"there is no mean over the length of the path {path.name!r}",
                expected="a path of positive length",
                got="control points at one place",
                remedy="take integral(), the mean over t",
            )
        return float((share * np.asarray(self(t.reshape(-1))).reshape(t.shape)).sum() / share.sum())

    def _of(self, t: ArrayLike, polynomials: Sequence[Callable[[np.ndarray], np.ndarray]]) -> np.ndarray | float:
        """The values of the polynomial that each position belongs to."""
        positions = np.asarray(t, dtype=float)
        outside = positions[~((positions >= 0) & (positions <= 1))]
        if outside.size:
            raise EvaluationError(
                "a position outside of the profile",
                expected="0 <= t <= 1",
                got=f"t = {outside.flat[0]:g}",
                remedy="choose t between the ends",
            )
        number = np.searchsorted(self._starts, positions, side="right") - 1
        values = np.empty(positions.shape)
        for own, polynomial in enumerate(polynomials):
            values[number == own] = polynomial(positions[number == own])
        return values if values.ndim else float(values)

    def _stationary(self, slope: float = 0.0) -> np.ndarray:
        """Where the derivative equals a slope, and the ends of the pieces, increasing.

        The real parts of complex roots are kept too: another candidate for a maximum does no harm, and a double root
        often comes out as a complex pair.
        """
        found = [self._starts, [1.0]]
        for piece in self.pieces:
            low, high = piece.domain
            falling = piece.deriv() - slope
            falling = falling.trim(_NEGLIGIBLE * np.abs(falling.coef).max())
            found.append(np.clip(np.real(falling.roots()), low, high) if falling.degree() else [])
        return np.unique(np.concatenate(found))


def _area(piece: Chebyshev) -> float:
    """The integral of a polynomial over its interval."""
    whole = piece.integ()
    return whole(piece.domain[1]) - whole(piece.domain[0])
