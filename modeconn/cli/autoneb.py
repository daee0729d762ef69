"""Let a chain between two checkpoints settle on the lowest way, and find its saddle (AutoNEB, arXiv 1803.00885).

Writes the chain as a path folder (path/), history.csv and figures/ to the output folder; the pivots are adapters that
plain PEFT loads. `modeconn evaluate --path` measures the chain on the test split.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from modeconn.cli.fit_run import Fit, FitRunSettings, between, run_fit
from modeconn.fitting.settings import AutoNebSettings
from modeconn.runs.settings import flag_help

if TYPE_CHECKING:
    from modeconn.adapters.adapter import Adapter


@dataclass(frozen=True, kw_only=True)
class Settings(AutoNebSettings, FitRunSettings):
    """Between what, and how."""

    num_pivots: int = field(default=3, metadata=flag_help("free points at the start; more are inserted where needed"))


def run(settings: Settings) -> int:
    """Let a chain settle and write its run folder; a finished one is shown again."""
    from modeconn.fitting.autoneb import fit_autoneb
    from modeconn.paths import PolygonalChain

    def fit(ends: "list[Adapter]") -> Fit:
        chain = between(settings, ends, PolygonalChain, label="autoneb", num_bends=settings.num_pivots)
        return partial(fit_autoneb, chain, settings=settings.only(AutoNebSettings))

    return run_fit("autoneb", settings, fit)
