"""What a fit gives back."""

from dataclasses import dataclass

import pandas as pd

from modeconn.fitting.settings import FitSettings
from modeconn.paths.path import Path


@dataclass(frozen=True)
class CurveFit:
    """A fitted curve.

    Attributes:
        curve: The curve whose worst validation loss was the lowest; its ends are those that were given.
        history: One row a step: step, t (of the last position), learning_rate, loss (nats per scored token, mean
            over the step's positions), grad_norm; and at validations worst_loss and worst_t, missing elsewhere. Step 0
            is the curve before the fit.
        settings: How it was fitted.
        best_step: The step after which the curve was taken.
        stopped_early: Whether the validation loss had stopped falling.
    """

    curve: Path
    history: pd.DataFrame
    settings: FitSettings
    best_step: int
    stopped_early: bool
