"""What a fit gives back, and the error that still holds it."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from modeconn.errors import FitError
from modeconn.fitting.settings import FitSettings, SimplexFitSettings
from modeconn.paths.path import Path
from modeconn.paths.simplex import Simplex


@dataclass(frozen=True)
class CurveFit:
    """A fitted curve.

    Attributes:
        curve: The curve of the lowest objective at a validation; its ends are those given.
        history: One row a step: step, t (of the last position; AutoNEB: of the highest pivot), loss (nats per scored
            token, mean over the step's positions), learning_rate, grad_norm; and at validations, missing elsewhere,
            worst_loss, worst_t and worst_of (the highest loss of so many positions, and where), mean_loss (over t, of
            AutoNEB over length), above_chord (the most that a position lies above the chord of the ends; not of
            AutoNEB, which has num_pivots) and objective, the number that chose the curve: `mean_loss + max(0,
            above_chord)`, of AutoNEB the saddle. Step 0 is the curve before the fit.
        settings: How it was fitted.
        best_step: The step after which the curve was taken.
        stopped_early: Whether it stopped before its last step.
    """

    curve: Path
    history: pd.DataFrame
    settings: FitSettings
    best_step: int
    stopped_early: bool


@dataclass(frozen=True)
class SimplexFit:
    """A simplex with corners that were fitted.

    Attributes:
        simplex: The simplex whose validation had the lowest objective; corners that do not move are those given.
        history: One row a step: step, loss (nats per scored token, mean over the step's points), log_volume,
            learning_rate, grad_norm; and at validations mean_loss, worst_loss and worst_of (of so many uniform points,
            the same every time) and objective, `mean_loss - volume_weight * log_volume`. Step 0 is before the fit.
        settings: How it was fitted.
        best_step: The step after which the simplex was taken.
        stopped_early: Whether it stopped before its last step.
    """

    simplex: Simplex
    history: pd.DataFrame
    settings: SimplexFitSettings
    best_step: int
    stopped_early: bool


class FitStopped(FitError):
    """A fit came to a number that is none, and stopped before anything moved.

    Attributes:
        fit: The best `CurveFit` or `SimplexFit` until then; what was given where no step brought a better one.
    """

    def __init__(self, failed: str, *, expected: str, got: str, remedy: str, fit: Any) -> None:  # noqa: ANN401
        super().__init__(failed, expected=expected, got=got, remedy=remedy)
        self.fit = fit
