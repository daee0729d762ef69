"""As many evaluations along a path as the profile needs, and an estimate of what they leave out."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from modeconn.errors import EvaluationError
from modeconn.evaluation.chebyshev import coefficients, nodes, through
from modeconn.evaluation.interpolant import Interpolant

Polynomials = Callable[[np.ndarray], np.ndarray]
Measure = Callable[[Sequence[float]], Mapping[float, np.ndarray]]

MAX_DEGREE = 128
# Of degree 8, four in 95 bumps of width 0.02 fell between all nodes and probes, and were called resolved.
_FIRST_DEGREE, _FIRST_DEGREE_OF_PIECES = 16, 8
# Probes see a sample of the error. With this factor none of 700 made-up smooth profiles was called resolved with an
# error above the tolerance; the worst had 0.89 of it (analysis/benchmarks/resolution.py).
_SAFETY = 3.0
_MAGNIFIED = 4.0  # rounding by interpolation: the Lebesgue constant `2 / pi log n + 1` of 128 nodes is 4.1


@dataclass(frozen=True)
class Target:
    """How exact a profile has to be.

    Attributes:
        relative: Error allowed as a share of a task's range along the path, or None.
        absolute: Error allowed in nats, or None; of two, the larger counts.
        noise: What an evaluation is uncertain by, relative to 1 + loss, `[M]` for M tasks: no polynomial is exact
            beyond it.
    """

    relative: float | None = 0.0025
    absolute: float | None = None
    noise: np.ndarray = field(default_factory=lambda: np.zeros(1))

    def __post_init__(self) -> None:
        for name, value, most in (("tolerance", self.relative, 1.0), ("absolute_tolerance", self.absolute, math.inf)):
            if value is not None and not 0 < value < most:
                raise EvaluationError(
                    f"a profile cannot be resolved to {name}={value!r}",
                    expected="a share of the profile's range between 0 and 1" if most == 1 else "nats, above 0",
                    got=repr(value),
                    remedy=f"use {name}={0.0025 if most == 1 else 0.01}, or give num_points for a fixed grid",
                )

    def tolerance(self, losses: np.ndarray) -> np.ndarray:
        """The error allowed, in nats, `[T, M] -> [M]`."""
        return np.maximum((self.relative or 0.0) * np.ptp(losses, axis=0), self.absolute or 0.0)

    def noise_floor(self, losses: np.ndarray) -> np.ndarray:
        """The error that noise alone may cause, in nats, `[T, M] -> [M]`."""
        return _SAFETY * _MAGNIFIED * self.noise * (1 + np.abs(losses).max(axis=0))

    def allowed(self, losses: np.ndarray) -> np.ndarray:
        """The larger of both, in nats, `[T, M] -> [M]`."""
        return np.maximum(self.tolerance(losses), self.noise_floor(losses))


@dataclass(frozen=True)
class Resolved:
    """Profiles of M tasks as functions of t.

    Attributes:
        curves: One for each task.
        tolerance: The error allowed, nats, `[M]`.
        noise_floor: The error that noise alone may cause, nats, `[M]`.
        error_estimate: The largest error expected, nats, `[M]`.
        num_evaluations: Positions that were measured.
    """

    curves: tuple[Interpolant, ...]
    tolerance: np.ndarray
    noise_floor: np.ndarray
    error_estimate: np.ndarray
    num_evaluations: int

    @property
    def resolved(self) -> np.ndarray:
        """Whether the error is below the tolerance or the noise floor, `[M]`."""
        return self.error_estimate <= np.maximum(self.tolerance, self.noise_floor)


@dataclass(frozen=True)
class _Piece:
    """A smooth part of a path and the degree of its polynomials."""

    low: float
    high: float
    degree: int

    def nodes(self, times: int = 1) -> list[float]:
        """The nodes of the degree, or of a multiple."""
        return nodes(times * self.degree, self.low, self.high)


class _Losses:
    """Losses of M tasks at the positions that were measured so far."""

    def __init__(self, measure: Measure) -> None:
        self._measure, self._known = measure, dict[float, np.ndarray]()

    def at(self, positions: Sequence[float]) -> np.ndarray:
        """Losses, `[T] -> [T, M]`; positions that are new are measured, in one go."""
        new = sorted(set(positions) - self._known.keys())
        if new:
            self._known.update(self._measure(new))
        found = np.array([self._known[t] for t in positions])
        broken = ~np.isfinite(found).all(axis=1)
        if broken.any():
            raise EvaluationError(
                "a profile with holes cannot be resolved",
                expected="a finite loss at every position",
                got=f"NaN or infinite at t = {positions[int(broken.argmax())]:g}",
                remedy="find the examples whose loss is not finite",
            )
        return found

    def have(self, positions: Sequence[float]) -> bool:
        """Whether all were measured."""
        return self._known.keys() >= set(positions)

    @property
    def all(self) -> np.ndarray:
        """All that were measured, `[T, M]`."""
        return np.array(list(self._known.values()))


def resolve(measure: Measure, target: Target, *, joints: Sequence[float] = ()) -> Resolved:
    """Measure profiles at Chebyshev nodes, doubling their number until the polynomial through them is exact enough.

    Between two joints the degree is 16 (8 on a path with joints), 32, ..., 128; every node of a degree is one of twice
    that degree, so nothing is measured twice. A polynomial is tested where it differs most from that of half its
    degree: at the node of twice its degree with the largest difference, at both beside it, and at the worst one in the
    other half. Its error is taken to be three times the largest that was seen there, or its last coefficients if they
    are larger. A kink that is no joint may be missed, and so may a narrow peak: of Gaussian bumps at 95 places, none of
    standard deviation 0.01 or more was called resolved wrongly, but 4 of 0.0075 and 25 of 0.005 were.

    Args:
        measure: Increasing positions -> the losses of M tasks at each, `[M]`; it is asked once for each position.
        target: How exact the profiles have to be.
        joints: Positions in (0, 1) where the path may have a kink, increasing.

    Returns:
        The profiles; `resolved` says whether the target was met.

    Raises:
        EvaluationError: If a loss is not finite.

    Example:
        >>> found = resolve(lambda t: {x: np.array([np.sin(5 * x)]) for x in t}, Target(1e-4))
        >>> bool(found.resolved[0]), found.num_evaluations, round(found.curves[0].maximum().t, 3)
        (True, 21, 0.314)
    """
    knots = [0.0, *joints, 1.0]
    first = _FIRST_DEGREE_OF_PIECES if joints else _FIRST_DEGREE
    pieces = [_Piece(low, high, first) for low, high in pairwise(knots)]
    losses = _Losses(measure)
    losses.at([t for piece in pieces for t in piece.nodes()])  # the first estimate needs the range of all
    errors: dict[int, np.ndarray] = {}
    unsettled = list(range(len(pieces)))
    while unsettled:
        losses.at([t for number in unsettled for t in pieces[number].nodes()])
        errors |= {number: _error(pieces[number], losses, target) for number in unsettled}
        allowed = target.allowed(losses.all)
        unsettled = [n for n in unsettled if (errors[n] > allowed).any() and pieces[n].degree < MAX_DEGREE]
        for number in unsettled:
            pieces[number] = replace(pieces[number], degree=2 * pieces[number].degree)
    return Resolved(
        curves=_curves(pieces, losses),
        tolerance=target.tolerance(losses.all),
        noise_floor=target.noise_floor(losses.all),
        error_estimate=np.max(list(errors.values()), axis=0),
        num_evaluations=len(losses.all),
    )


def _error(piece: _Piece, losses: _Losses, target: Target) -> np.ndarray:
    """The largest error of a piece's polynomials, `[M]`."""
    values = losses.at(piece.nodes())  # [n + 1, M]
    whole, half = (_polynomials(piece, kept) for kept in (values, values[::2]))
    new = np.array(piece.nodes(2)[1::2])  # [n]
    scale = np.maximum(target.allowed(losses.all), np.finfo(float).tiny)  # [M]
    doubt = (np.abs(whole(new) - half(new)) / scale).max(axis=1)  # [n]
    probes = new[_probed(doubt)]
    missed = np.abs(whole(probes) - losses.at(probes.tolist())).max(axis=0)
    last = np.abs(coefficients(values)[-2:]).max(axis=0)  # two, as every second one may be 0
    return np.maximum(_SAFETY * missed, last)


def _polynomials(piece: _Piece, values: np.ndarray) -> Polynomials:
    """Positions `[T]` -> what the polynomials through values `[n + 1, M]` have there, `[T, M]`."""
    columns = [through(column, piece.low, piece.high) for column in values.T]
    return lambda t: np.stack([column(t) for column in columns], axis=1)


def _probed(doubt: np.ndarray) -> list[int]:
    """Which 4 of the new nodes to test: the most doubtful, those beside it, and the most doubtful of the other half."""
    worst, middle = int(doubt.argmax()), len(doubt) // 2
    first = min(max(worst - 1, 0), len(doubt) - 3)
    beside = range(first, first + 3)
    others = [k for k in range(len(doubt)) if (k < middle) != (worst < middle) and k not in beside]
    return sorted([*beside, max(others, key=lambda k: doubt[k])])


def _curves(pieces: Sequence[_Piece], losses: _Losses) -> tuple[Interpolant, ...]:
    """The polynomials of all pieces, task by task, of the highest degree whose nodes were all measured."""
    columns = []
    for piece in pieces:
        while losses.have(piece.nodes(2)):
            piece = replace(piece, degree=2 * piece.degree)
        columns.append([through(column, piece.low, piece.high) for column in losses.at(piece.nodes()).T])
    return tuple(Interpolant(own) for own in zip(*columns, strict=True))
