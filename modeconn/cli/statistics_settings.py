"""How the intervals of barriers and bands are made: the flags that measuring commands share."""

from dataclasses import dataclass, field
from typing import Any

from modeconn.runs.settings import flag_help


@dataclass(frozen=True, kw_only=True)
class StatisticsSettings:
    """Confidence and resampling of intervals."""

    confidence: float = field(default=0.95, metadata=flag_help("of the intervals of barriers, bands and gains"))
    num_resamples: int = field(default=2000, metadata=flag_help("resamples of the examples"))
    seed: int = field(default=0, metadata=flag_help("of the resampling"))

    @property
    def statistics(self) -> dict[str, Any]:
        """How intervals are made."""
        return {"confidence": self.confidence, "num_resamples": self.num_resamples, "seed": self.seed}


def check_statistics(confidence: float, num_resamples: int, seed: int) -> None:
    """Raise unless intervals can be had with these settings.

    Args:
        confidence: That of the intervals.
        num_resamples: Resamples of the examples.
        seed: Of the resampling.

    Raises:
        EvaluationError: If they cannot.
    """
    from modeconn.evaluation.paired import check_confidence

    check_confidence(confidence, num_resamples)
    check_seed(seed)


def check_seed(seed: int) -> None:
    """Raise unless random numbers can be drawn from a seed.

    Raises:
        EvaluationError: If it is below 0.
    """
    from modeconn.errors import EvaluationError

    if seed < 0:
        raise EvaluationError(
            "no random numbers from this seed",
            expected="a whole number, 0 or more",
            got=f"--seed {seed}",
            remedy="leave it out for 0",
        )
