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
        _check_rank(settings, ends)
        chain = between(settings, ends, PolygonalChain, label="autoneb", num_bends=settings.num_pivots)
        return partial(fit_autoneb, chain, settings=settings.only(AutoNebSettings))

    return run_fit("autoneb", settings, fit)


def _check_rank(settings: Settings, ends: "list[Adapter]") -> None:
    """Raise unless pivots of the rank that was asked for hold both ends: they are put back between them."""
    from modeconn.errors import FitError
    from modeconn.paths import LinearPath

    if settings.bend_rank is None:
        return
    middle = LinearPath(*ends, space=settings.space, heads=settings.heads)(0.5)
    least = max((update.rank for update in middle.updates.values() if update.low_rank), default=1)
    if settings.bend_rank < least:
        raise FitError(
            "the pivots of AutoNEB cannot have a rank that does not hold both ends",
            expected=f"a rank of at least {least}, that of both ends together",
            got=f"bend_rank={settings.bend_rank}",
            remedy=f"leave --bend-rank out, or give {least} or more; modeconn fit takes bends of any rank",
        )
