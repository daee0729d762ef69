"""What a fit gives back, and the error that still holds it."""

from dataclasses import dataclass

import pandas as pd

from modeconn.errors import FitError
from modeconn.fitting.settings import FitSettings
from modeconn.paths.path import Path


@dataclass(frozen=True)
class CurveFit:
    """A fitted curve.

    Attributes:
        curve: The curve whose worst loss of the validation positions was the lowest; its ends are those given.
        history: One row a step: step, t (of the last position; AutoNEB: of the highest pivot), loss (nats per scored
            token, mean over the step's positions), learning_rate, grad_norm; and at validations worst_loss, worst_t and
            worst_of: the highest loss of so many positions, and where; missing elsewhere (AutoNEB: num_pivots as
            well). Step 0 is the curve before the fit.
        settings: How it was fitted.
        best_step: The step after which the curve was taken.
        stopped_early: Whether it stopped before its last step.
    """

    curve: Path
    history: pd.DataFrame
    settings: FitSettings
    best_step: int
    stopped_early: bool


class FitStopped(FitError):
    """A fit came to a number that is none, and stopped before the bends moved.

    Attributes:
        fit: The best curve until then; the curve before the fit where no step brought a better one.
    """

    def __init__(self, failed: str, *, expected: str, got: str, remedy: str, fit: CurveFit) -> None:
        super().__init__(failed, expected=expected, got=got, remedy=remedy)
        self.fit = fit
