"""How a path bends in the space of points, and how the loss on it curves."""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from modeconn.errors import PathError
from modeconn.evaluation.interpolant import Interpolant
from modeconn.paths.arclength import ArcLengthPath, length
from modeconn.paths.curve import check_positions, derivative, joints, norms
from modeconn.paths.path import Path
from modeconn.paths.slerp import SlerpPath

_STEPS = 512  # of each smooth piece, for the turn of the tangent
_STEP = 1e-5  # in t, of differences
_BESIDE = 1e-9  # in t: near enough to a joint to have the direction that leads into it
_STILL = 1e-9  # of the fastest: below, a path has no direction


class Shape(NamedTuple):
    """How a path bends, in the coordinates of its space.

    Attributes:
        length: Its length, an L2 norm.
        distance: The distance of its ends.
        turn: By how much its direction turns on the way, kinks included, degrees; 0 of a line, 180 of a half circle.
        curvature: The largest curvature between kinks, per unit of length; 1 / radius of a circle.
        t: Where that is.
    """

    length: float
    distance: float
    turn: float
    curvature: float
    t: float


def path_shape(path: Path) -> Shape:
    """Length, turn and largest curvature of a path; from the Gram matrix of its control points, without a model.

    Args:
        path: Any path but a spherical one; `path.on(model)` where its updates are functions of the base's weights.

    Raises:
        PathError: If the path is spherical, has no length, or one that is not finite.
    """
    path = _plain(path)
    t = _grid(path)  # [S, _STEPS + 1]
    rows = derivative(path, t.reshape(-1))  # [T, K]
    gram = path.centred_gram
    speeds = norms(rows, gram)
    found = length(path)
    _check_moves(path, found, speeds)
    moving = speeds > _STILL * speeds.max()
    directions, at = rows[moving] / speeds[moving, None], t.reshape(-1)[moving]
    # |u - v| = 2 sin(angle / 2) of unit vectors, which keeps the digits of small angles.
    chords = norms(directions[1:] - directions[:-1], gram).clamp(max=2.0)
    turn = 2 * torch.asin(chords / 2)
    bending = torch.from_numpy(curvature(path, at.numpy()))
    worst = int(bending.argmax())
    first, last = path.coefficients(torch.tensor([0.0, 1.0], dtype=torch.float64))
    distance = float(norms((last - first)[None], gram)[0])
    return Shape(found, distance, math.degrees(float(turn.sum())), float(bending[worst]), float(at[worst]))


def curvature(path: Path, t: ArrayLike) -> np.ndarray:
    """The curvature of a path, `sqrt(|x'|^2 |x''|^2 - <x', x''>^2) / |x'|^3`, `[T] -> [T]`, per unit of length.

    At a joint it is that of the piece on its right; the kink itself has none.

    Args:
        path: Any path but a spherical one.
        t: Positions in [0, 1].

    Returns:
        Curvatures; infinite where the path stands still for a moment.

    Raises:
        PathError: If the path is spherical, or a position is outside of [0, 1].
    """
    positions = check_positions(torch.as_tensor(np.asarray(t, dtype=float)), path.name)
    if isinstance(path, ArcLengthPath):  # bends as it does at any speed
        positions = path.position(positions)
    path = _plain(path)
    gram = path.centred_gram
    first, second = derivative(path, positions), _second_derivative(path, positions)  # [T, K] each
    speeds = norms(first, gram)
    along = ((second @ gram) * first).sum(dim=1) / speeds.square()  # of the acceleration, in units of the velocity
    across = norms(second - along[:, None] * first, gram)
    bent = across / speeds.square()
    return torch.where(speeds > 0, bent, torch.inf).numpy()


def loss_curvature(loss: Interpolant, path: Path, t: ArrayLike) -> np.ndarray:
    """The second derivative of a loss along a path by its length s, `d^2 L / d s^2`, `[T] -> [T]`.

    `(L'' - L' v' / v) / v^2` with `v = |path'(t)|`. On a line it is the Hessian's `u^T H u` in the direction u of the
    line, in nats per square of the L2 norm; on a curve the slope times the curve's own bending comes on top.

    It is least certain at the ends, and at the joints of a chain: a polynomial of degree n is held on one side only
    there. An error e in each of its losses moves `L''` by about `0.6 n^4 e` at the ends of a piece and `1.8 n^2 e` in
    its middle (at most `4/3 n^4 e` anywhere: Duffin and Schaeffer 1941). A profile's own error estimate is one of the
    loss, not of its derivatives. `curvature_along` takes differences of even positions, which err alike all along.

    Args:
        loss: The loss as a function of t: `profile.curve(task)`.
        path: The path on which it was measured.
        t: Positions in [0, 1].

    Raises:
        PathError: If the path is spherical or has no length.
        EvaluationError: If a position is outside of [0, 1].
    """
    positions = np.asarray(t, dtype=float).reshape(-1)
    slope, second = (np.asarray(loss.derivative(positions, order=order)) for order in (1, 2))
    if isinstance(path, ArcLengthPath):
        return second / path.length**2
    path = _plain(path)
    gram, at = path.centred_gram, torch.from_numpy(positions)
    rows = derivative(path, at)
    speeds = norms(rows, gram)
    _check_moves(path, float(speeds.max()), speeds)
    gained = ((_second_derivative(path, at) @ gram) * rows).sum(dim=1) / speeds  # v'
    return (second - slope * (gained / speeds).numpy()) / speeds.square().numpy()


def _plain(path: Path) -> Path:
    """A path of one row of coefficients for all parameters, at its own speed."""
    if isinstance(path, SlerpPath):
        raise PathError(
            f"the bending of the path {path.name!r} cannot be measured",
            expected="a path with the same coefficients in every parameter",
            got="a spherical path",
            remedy="measure a line or a curve between the same ends",
        )
    return path.path if isinstance(path, ArcLengthPath) else path


def _check_moves(path: Path, size: float, speeds: torch.Tensor) -> None:
    """Raise unless a path leads anywhere."""
    scale = float(path.gram.diagonal().max().clamp(min=0.0).sqrt())
    if not (size > _STILL * scale and bool(speeds.max() > 0)):
        raise PathError(
            f"the path {path.name!r} has no direction",
            expected="control points that differ",
            got=f"{len(path.points)} of them at one place",
            remedy="join two different checkpoints",
        )


def _grid(path: Path) -> torch.Tensor:
    """Positions on every smooth piece, from the joint before it to just before the next, `[S, _STEPS + 1]`."""
    knots = torch.tensor([0.0, *joints(path), 1.0], dtype=torch.float64)
    shares = torch.linspace(0.0, 1.0, _STEPS + 1, dtype=torch.float64)
    ends = knots[1:].clone()
    ends[:-1] -= _BESIDE
    return knots[:-1, None] + (ends - knots[:-1])[:, None] * shares


def _second_derivative(path: Path, t: torch.Tensor) -> torch.Tensor:
    """The second derivative of a path's coefficients, `[T] -> [T, K]`, by differences of the first to second order.

    Automatic differentiation of powers of t gives NaN at the ends. All three places are on the piece of t.
    """
    knots = torch.tensor([0.0, *joints(path), 1.0], dtype=torch.float64)
    piece = (torch.searchsorted(knots, t, right=True) - 1).clamp(0, len(knots) - 2)
    step = torch.where(t + 2 * _STEP < knots[piece + 1], _STEP, -_STEP)  # [T]
    here, next_to_it, beyond = (derivative(path, t + number * step) for number in range(3))
    return (4 * next_to_it - 3 * here - beyond) / (2 * step[:, None])
