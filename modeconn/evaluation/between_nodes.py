"""What every example's losses at Chebyshev nodes say of the positions between them."""

from collections.abc import Iterator

import numpy as np
from numpy.polynomial import Chebyshev, chebyshev

from modeconn.evaluation.chebyshev import nodes
from modeconn.evaluation.interpolant import Interpolant


def interpolated(curve: Interpolant, t: np.ndarray, losses: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """Losses between the nodes, `[N, T] -> [N, F]`.

    The interpolant is linear in the losses: interpolating every example's gives the interpolant of their mean.
    Positions of which the curve knows, but which are no nodes of it, do not count.

    Args:
        curve: The curve through the mean of the losses, which says where the nodes are.
        t: The positions of the losses, `[T]`; all nodes are among them.
        losses: `[N, T]`.
        fine: `[F]`, from 0 to 1.
    """
    values = np.empty((len(losses), len(fine)))
    for piece, own, inverse in _pieces(curve, t):
        low, high = piece.domain
        here = (fine >= low) & (fine <= high)
        basis = chebyshev.chebvander(2 * (fine[here] - low) / (high - low) - 1, len(own) - 1)
        values[:, here] = losses[:, own] @ (basis @ inverse).T
    return values


def integral_weights(curve: Interpolant, t: np.ndarray) -> np.ndarray:
    """The weights of the integral of the curve over [0, 1] in terms of the losses at positions, `[T]`.

    Args:
        curve: The curve.
        t: The positions of the losses, `[T]`; all nodes are among them.
    """
    weights = np.zeros(len(t))
    for piece, own, inverse in _pieces(curve, t):
        low, high = piece.domain
        orders = np.arange(len(own))
        areas = np.where(orders % 2, 0.0, 1 / (1 - np.where(orders % 2, 0, orders) ** 2.0))  # of half of [-1, 1]
        weights[own] += (high - low) * areas @ inverse
    return weights


def _pieces(curve: Interpolant, t: np.ndarray) -> Iterator[tuple[Chebyshev, np.ndarray, np.ndarray]]:
    """Each polynomial, which positions are its nodes, and the matrix from losses there to its coefficients."""
    for piece in curve.pieces:
        low, high = piece.domain
        places = np.array(nodes(len(piece.coef) - 1, low, high))
        own = np.abs(t[:, None] - places).argmin(axis=0)
        yield piece, own, np.linalg.inv(chebyshev.chebvander(2 * (places - low) / (high - low) - 1, len(places) - 1))
