"""Short fits, on the plane and on a tiny language model, and all numbers of what they give back."""

from collections.abc import Callable
from typing import Any

from fit_toys import half_circle, noise, noisy_ring, plane_model

import modeconn as mc
from modeconn.fitting import fit_curve

STEPS: dict[str, Any] = {"num_steps": 12, "eval_steps": 4, "eval_points": 3, "learning_rate": 0.02}


def toy_fit(**settings: Any) -> mc.CurveFit:
    """A half circle fitted to a noisy ring."""
    return fit_curve(half_circle(), plane_model(noisy_ring), [noise()], **(STEPS | settings))


def language_fit(
    ends_and_model: Callable[..., Any], words: Callable[[str], mc.Task], store: Any = None, progress: Any = None,
    **settings: Any,
) -> mc.CurveFit:  # fmt: skip
    """A curve of two bends between random adapters of a tiny Llama, fitted to random words."""
    ends, model = ends_and_model("llama")
    curve = mc.BezierCurve.between(*ends, num_bends=2)
    return fit_curve(curve, model, [words("llama")], store=store, progress=progress, **(STEPS | settings))


def bits(fit: mc.CurveFit) -> tuple[list[bytes], bytes, int]:
    """All numbers of a result."""
    points = [value.numpy().tobytes() for point in fit.curve.points for value in point.tensors.values()]
    return points, fit.history.to_numpy().tobytes(), fit.best_step
