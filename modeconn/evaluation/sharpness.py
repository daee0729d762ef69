"""How much a loss rises in a small box around a point."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize

from modeconn.errors import EvaluationError
from modeconn.evaluation.local_loss import LocalLoss

_BESIDE = 1e-3  # of the box
_LOSSES_A_STEP = 2  # at most, on average


@dataclass(frozen=True)
class Sharpness:
    """The highest loss that was found in a box.

    Attributes:
        value: `100 (highest - loss) / (1 + loss)`.
        loss: At the point.
        highest: In the box.
        size: The box: coordinate x may move by `size (|x| + 1)`.
        num_evaluations: Losses and gradients that it took.
    """

    value: float
    loss: float
    highest: float
    size: float
    num_evaluations: int


def epsilon_sharpness(loss: LocalLoss, *, size: float = 1e-3, max_steps: int = 10) -> Sharpness:
    """The relative rise of a loss in a box around a point (Keskar 2017, arXiv 1609.04836).

    `100 (max_(|d_i| <= e (|x_i| + 1)) L(x + d) - L(x)) / (1 + L(x))`, the maximum looked for by a few steps of
    L-BFGS-B, so that the value is a lower bound. They begin a little beside the point, as there is no way up to be seen
    from one where training has converged. Like every such measure it depends on the coordinates: the same function in
    another gauge has another one.

    Args:
        loss: The loss around the point: `LocalLoss.at(point, model, task)`.
        size: e.
        max_steps: Steps of the search.

    Raises:
        EvaluationError: If the box has no size, there is no step, or the loss is not finite.
    """
    if not (size > 0 and np.isfinite(size)) or max_steps < 1:
        raise EvaluationError(
            "sharpness cannot be measured so",
            expected="a size above 0 and at least one step",
            got=f"size={size:g}, max_steps={max_steps}",
            remedy="take the defaults: size=1e-3, max_steps=10",
        )
    reach = (size * (loss.centre.double().abs() + 1)).cpu().numpy()  # [P]
    seen: list[float] = []

    def falling(shift: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = loss.gradient(torch.from_numpy(shift))
        seen.append(value)
        return -value, -slope.numpy()

    falling(np.zeros(len(reach)))
    start = _BESIDE * reach * np.random.default_rng(0).choice([-1.0, 1.0], len(reach))
    minimize(
        falling, start, jac=True, method="L-BFGS-B", bounds=list(zip(-reach, reach, strict=True)),
        # The default tolerances take a small slope for the top.
        options={"maxiter": max_steps, "maxfun": _LOSSES_A_STEP * max_steps, "gtol": 0.0, "ftol": 0.0},
    )  # fmt: skip
    if not np.isfinite(seen).all():
        raise EvaluationError(
            "the loss around the point is not finite",
            expected="finite losses in the box",
            got=f"{np.count_nonzero(~np.isfinite(seen))} of {len(seen)} are NaN or infinite",
            remedy="take a smaller size, or dtype='float32'",
        )
    highest = max(seen)
    return Sharpness(100 * (highest - seen[0]) / (1 + seen[0]), seen[0], highest, size, len(seen))
