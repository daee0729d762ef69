"""What is measured of the curvature at points, and how much work goes into it."""

import math
from dataclasses import dataclass, field
from typing import Literal

from modeconn.errors import EvaluationError
from modeconn.runs.settings import flag_help

Measure = Literal["trace", "extremes", "sharpness"]


@dataclass(frozen=True, kw_only=True)
class SecondOrderSettings:
    """Which measures, on how many examples, and how exact.

    Raises:
        EvaluationError: If a value means nothing.
    """

    measures: tuple[Measure, ...] = field(
        default=("trace", "extremes", "sharpness"),
        metadata=flag_help("trace and extremes (largest, smallest eigenvalue) of the Hessian, sharpness of a box"),
    )
    num_examples: int = field(
        default=64, metadata=flag_help("examples of every task, spread over the split; 0 takes all")
    )
    batch_size: int = field(default=16, metadata=flag_help("examples that go through the model together"))
    num_probes: int = field(default=32, metadata=flag_help("Hessian products for the trace"))
    tolerance: float = field(default=0.01, metadata=flag_help("relative error of the larger eigenvalue"))
    max_products: int = field(default=64, metadata=flag_help("Hessian products for the eigenvalues, at most"))
    box: float = field(default=1e-3, metadata=flag_help("half side of the box, relative to 1 + the coordinate's size"))
    max_steps: int = field(default=10, metadata=flag_help("steps of the search for the highest loss in the box"))
    seed: int = field(default=0, metadata=flag_help("of probes and of the first direction"))

    def __post_init__(self) -> None:
        least = {"num_examples": 0, "batch_size": 1, "num_probes": 2, "max_products": 1, "max_steps": 1, "seed": 0}
        wrong = [f"{name}={getattr(self, name)}" for name, low in least.items() if getattr(self, name) < low]
        for name in ("tolerance", "box"):
            value = getattr(self, name)
            wrong += [] if value > 0 and math.isfinite(value) else [f"{name}={value:g}"]
        wrong += [] if self.measures else ["no measures"]
        if wrong:
            raise EvaluationError(
                "curvature cannot be measured so",
                expected=f"a measure, {', '.join(f'{name} of {low} or more' for name, low in least.items())},"
                " tolerance and box above 0",
                got=", ".join(wrong),
                remedy="leave out what is wrong: there are defaults",
            )

    @property
    def most_products(self) -> int:
        """Hessian products at a point and task, at most."""
        asked = {"trace": self.num_probes, "extremes": self.max_products}
        return sum(count for measure, count in asked.items() if measure in self.measures)

    @property
    def most_gradients(self) -> int:
        """Gradients at a point and task, about: a step of the search takes one or two."""
        return 2 * self.max_steps + 1 if "sharpness" in self.measures else 0
