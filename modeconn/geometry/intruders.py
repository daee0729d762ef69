"""Intruder dimensions: large singular directions of the changed weight that the base's weight does not have."""

from typing import Any

import numpy as np
import torch

from modeconn.errors import EvaluationError

LOOKED_AT, THRESHOLD = 10, 0.5


def count_intruders(
    weight: Any, changed: Any, *, num_directions: int = LOOKED_AT, threshold: float = THRESHOLD  # noqa: ANN401
) -> int:  # fmt: skip
    """How many of the largest left singular vectors of a changed weight resemble none of the base's.

    A left singular vector u of `W_0 + dW` is an intruder if `max_i |u^T u_i|` over all left singular vectors u_i of
    `W_0` is below the threshold (Shuttleworth 2024, arXiv 2410.21228).

    Args:
        weight: `W_0`, `[out, in]`, an array of numpy or torch.
        changed: `W_0 + dW`, of the same shape.
        num_directions: How many of the largest are looked at.
        threshold: The largest cosine of an intruder.

    Returns:
        A number from 0 to `num_directions`.

    Raises:
        EvaluationError: If the shapes differ, the threshold is no cosine, or nothing is to be looked at.

    Example:
        >>> count_intruders(np.diag([3.0, 2.0, 1.0]), np.diag([3.0, 2.0, 9.0]))  # another order, the same directions
        0
    """
    before, after = (torch.as_tensor(np.asarray(one, dtype=np.float64)) for one in (weight, changed))
    check_intruder_settings(num_directions, threshold)
    if before.ndim != 2 or before.shape != after.shape:
        raise EvaluationError(
            "intruder dimensions cannot be counted",
            expected="two matrices of one shape, the base's weight and the changed one",
            got=f"shapes {list(before.shape)} and {list(after.shape)}",
            remedy="give W_0 and W_0 + dW",
        )
    left, _, _ = torch.linalg.svd(before, full_matrices=False)
    return int((resemblances(left, after, num_directions) < threshold).sum())


def resemblances(base_left: torch.Tensor, changed: torch.Tensor, num_directions: int) -> torch.Tensor:
    """The largest cosine of each leading left singular vector of a changed weight with any of the base's.

    Args:
        base_left: The base's left singular vectors, `[out, m]`, float64.
        changed: `W_0 + dW`, `[out, in]`, float64.
        num_directions: How many are looked at, at most m.

    Returns:
        Cosines in [0, 1], the largest direction first, `[min(num_directions, m)]`.
    """
    left, _, _ = torch.linalg.svd(changed, full_matrices=False)
    cosines = (base_left.T @ left[:, :num_directions]).abs()  # [m, count]
    return cosines.amax(dim=0).clamp(max=1.0)


def check_intruder_settings(num_directions: int, threshold: float) -> None:
    """Raise unless directions are looked at, and the threshold is a cosine."""
    if num_directions < 1 or not 0 < threshold <= 1:
        raise EvaluationError(
            "intruder dimensions cannot be counted",
            expected="one direction or more, and a threshold above 0 and at most 1",
            got=f"num_directions={num_directions}, threshold={threshold:g}",
            remedy=f"take the defaults: {LOOKED_AT} directions, threshold {THRESHOLD}",
        )
