"""Fit a curve between two checkpoints: its bends move to where the tasks' loss is low, its ends stay.

Writes the curve as a path folder (path/), history.csv and figures/ to the output folder; the bends are adapters that
plain PEFT loads. `modeconn evaluate --path` measures the curve on the test split.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal

from modeconn.cli.fit_run import Fit, FitRunSettings, between, run_fit
from modeconn.runs.settings import flag_help

if TYPE_CHECKING:
    from modeconn.adapters.adapter import Adapter
    from modeconn.paths.path import Path as Curve


@dataclass(frozen=True, kw_only=True)
class Settings(FitRunSettings):
    """What to fit and how."""

    curve: Literal["bezier", "chain", "piecewise-bezier"] = field(
        default="bezier", metadata=flag_help("piecewise-bezier joins curves of one bend each")
    )
    num_bends: int = field(default=1, metadata=flag_help("free points between the ends; joints count as bends"))


def run(settings: Settings) -> int:
    """Fit a curve and write its run folder; a finished one is shown again."""
    from modeconn.fitting.fit import fit_curve
    from modeconn.fitting.settings import FitSettings

    def fit(ends: "list[Adapter]") -> Fit:
        return partial(fit_curve, _curve(settings, ends), settings=settings.only(FitSettings))

    return run_fit("fit", settings, fit)


def _curve(settings: Settings, ends: "list[Adapter]") -> "Curve":
    """The curve on the line, from which the fit begins."""
    from modeconn.errors import FitError
    from modeconn.paths import BezierCurve, PiecewiseBezier, PolygonalChain

    bends = settings.num_bends
    if settings.curve != "piecewise-bezier":
        kind = BezierCurve if settings.curve == "bezier" else PolygonalChain
        return between(settings, ends, kind, label=settings.curve, num_bends=bends)
    if bends < 1 or bends % 2 == 0:
        raise FitError(
            "a piecewise Bezier curve cannot have this number of bends",
            expected="an odd number: one bend a piece and a joint between two pieces",
            got=str(bends),
            remedy="give --num-bends 3 for two pieces, 5 for three",
        )
    return between(settings, ends, PiecewiseBezier, label=settings.curve, num_segments=(bends + 1) // 2)
