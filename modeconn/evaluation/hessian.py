"""The Hessian of a loss by its products with vectors: trace and extreme eigenvalues."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal

from modeconn.errors import EvaluationError
from modeconn.evaluation.local_loss import LocalLoss

Product = Callable[[torch.Tensor], torch.Tensor]
_BROKEN_DOWN = 1e-10  # of the largest eigenvalue: the products have reached an invariant subspace


@dataclass(frozen=True)
class Trace:
    """A trace by sampling.

    Attributes:
        value: The estimate.
        error: Its standard error.
        num_products: Products that it took.
    """

    value: float
    error: float
    num_products: int


@dataclass(frozen=True, eq=False)
class Extremes:
    """The largest and the smallest eigenvalue of a symmetric matrix.

    Attributes:
        top: The largest.
        top_error: How far an eigenvalue may be from it, at most.
        bottom: The smallest; at a saddle it is negative.
        bottom_error: How far an eigenvalue may be from it, at most.
        direction: The eigenvector of the largest, `[P]` float64, of length 1.
        num_products: Products that it took.
    """

    top: float
    top_error: float
    bottom: float
    bottom_error: float
    direction: torch.Tensor
    num_products: int


def hessian_trace(
    loss: LocalLoss, *, num_probes: int = 32, generator: torch.Generator | None = None
) -> Trace:  # fmt: skip
    """The trace of the Hessian of a task's mean loss at a point, in the adapter's coordinates.

    Args:
        loss: The loss around the point: `LocalLoss.at(point, model, task)`.
        num_probes: Products; the error falls with the root of their number.
        generator: Where the random signs come from; seed 0 by default.

    Raises:
        EvaluationError: If there are fewer than 2 probes, or a product is not finite.
    """
    return trace_of(loss.product, loss.num_parameters, num_probes=num_probes, generator=generator)


def hessian_extremes(
    loss: LocalLoss, *, tolerance: float = 1e-3, max_products: int = 64, generator: torch.Generator | None = None
) -> Extremes:
    """The largest and the smallest Hessian eigenvalue of a task's mean loss at a point, in the adapter's coordinates.

    Args:
        loss: The loss around the point: `LocalLoss.at(point, model, task)`.
        tolerance: Relative error of the larger of both at which to stop.
        max_products: Where to stop at the latest; the errors say what was reached.
        generator: Where the first direction comes from; seed 0 by default.

    Raises:
        EvaluationError: If there are no products to be made, or one is not finite.
    """
    settings = {"tolerance": tolerance, "max_products": max_products, "generator": generator}
    return extremes_of(loss.product, loss.num_parameters, **settings)


def trace_of(
    product: Product, size: int, *, num_probes: int = 32, generator: torch.Generator | None = None
) -> Trace:  # fmt: skip
    """The trace of a symmetric matrix: the mean of `z^T H z` over random signs z (Hutchinson 1990).

    Args:
        product: A vector `[size]` float64 -> the matrix times it.
        size: Rows of the matrix.
        num_probes: How many z.
        generator: Where they come from; seed 0 by default.

    Raises:
        EvaluationError: If there are fewer than 2 probes, or a product is not finite.
    """
    _check_count("num_probes", num_probes, least=2)
    generator = generator or torch.Generator().manual_seed(0)
    samples = []
    for _ in range(num_probes):
        signs = torch.randint(2, (size,), generator=generator).double() * 2 - 1
        samples.append(float(signs @ _finite(product(signs))))
    return Trace(float(np.mean(samples)), float(np.std(samples, ddof=1) / num_probes**0.5), num_probes)


def extremes_of(
    product: Product,
    size: int,
    *,
    tolerance: float = 1e-3,
    max_products: int = 64,
    generator: torch.Generator | None = None,
) -> Extremes:
    """The extreme eigenvalues of a symmetric matrix by Lanczos' method, every vector made orthogonal to all others.

    A Ritz value has an eigenvalue within `beta |s|`, its residual, which is the error that is reported and the reason
    to stop (Parlett 1980).

    Args:
        product: A vector `[size]` float64 -> the matrix times it.
        size: Rows of the matrix.
        tolerance: Relative error of the larger of both at which to stop.
        max_products: Where to stop at the latest.
        generator: Where the first direction comes from; seed 0 by default.

    Raises:
        EvaluationError: If there are no products to be made, or one is not finite.
    """
    _check_count("max_products", max_products, least=1)
    start = torch.randn(size, generator=generator or torch.Generator().manual_seed(0), dtype=torch.float64)
    basis = [start / start.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        image = _finite(product(basis[-1]))
        diagonal.append(float(basis[-1] @ image))
        held = torch.stack(basis, dim=1)  # [P, k]
        for _ in range(2):  # twice is enough (Kahan and Parlett)
            image = image - held @ (held.T @ image)
        length = float(image.norm())
        values, vectors = eigh_tridiagonal(np.array(diagonal), np.array(beside))
        errors = length * np.abs(vectors[-1])
        most = float(np.abs(values).max())
        lead = 0 if abs(values[0]) > abs(values[-1]) else len(values) - 1
        done = errors[lead] <= tolerance * abs(values[lead]) or length <= _BROKEN_DOWN * most
        if done or len(basis) == min(max_products, size):
            direction = held @ torch.from_numpy(vectors[:, -1].copy())
            ends = float(values[-1]), float(errors[-1]), float(values[0]), float(errors[0])
            return Extremes(*ends, direction, len(basis))
        beside.append(length)
        basis.append(image / length)


def _check_count(name: str, count: int, *, least: int) -> None:
    """Raise unless there is work to do."""
    if count < least:
        raise EvaluationError(
            "curvature cannot be measured without products of the Hessian",
            expected=f"{name} of {least} or more",
            got=str(count),
            remedy=f"take the default of {name}",
        )


def _finite(vector: torch.Tensor) -> torch.Tensor:
    """A product in float64, after checking it."""
    if not vector.isfinite().all():
        raise EvaluationError(
            "a product of the Hessian is not finite",
            expected="finite numbers",
            got="NaN or infinity",
            remedy="measure where the loss is finite; half precision may overflow: dtype='float32'",
        )
    return vector.double()
