"""The settings of a fit: flags of `modeconn fit`, keys of its YAML file, arguments of `fit_curve`."""

import math
from dataclasses import dataclass, field
from typing import Literal

from modeconn.errors import FitError
from modeconn.runs.settings import flag_help


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How bends are fitted; names are those of transformers where it has one.

    Raises:
        FitError: If a value cannot be used.
    """

    num_steps: int = field(default=500, metadata=flag_help("optimiser steps"))
    learning_rate: float = field(default=1e-3, metadata=flag_help("highest learning rate"))
    optimizer: Literal["adamw", "sgd"] = field(default="adamw", metadata=flag_help("sgd has momentum 0.9"))
    schedule: Literal["garipov", "draxler", "constant"] = field(
        default="garipov",
        metadata=flag_help("garipov: constant to half of the steps, then down to 1 % at 90 %; draxler: 1, 0.1, 0.01"),
    )
    weight_decay: float = field(
        default=0.0, metadata=flag_help("weight decay of the bends: decoupled, with sgd a part of the gradient")
    )
    max_grad_norm: float = field(default=1.0, metadata=flag_help("gradients are clipped to this L2 norm"))
    per_device_train_batch_size: int = field(default=8, metadata=flag_help("examples at a position"))
    gradient_accumulation_steps: int = field(default=1, metadata=flag_help("batches a position and step"))
    positions_per_step: int = field(default=1, metadata=flag_help("positions t a step, stratified"))
    uniform_in: Literal["t", "arc-length"] = field(default="t", metadata=flag_help("in what positions are uniform"))
    task_weights: tuple[float, ...] | None = field(
        default=None, metadata=flag_help("weight of each task in the loss; equal by default")
    )
    bf16: bool = field(default=False, metadata=flag_help("autocast to bf16; the points stay in float32"))
    score_eos: bool = field(default=True, metadata=flag_help("train the end-of-sequence token after the answer"))
    eval_score_eos: bool = field(
        default=False, metadata=flag_help("score the end-of-sequence token in validation, too")
    )
    separator: str = field(default=" ", metadata=flag_help("between prompt and answer, where neither has a blank"))
    mask_labels: bool = field(
        default=False, metadata=flag_help("leave out classes that are not the task's own (classifiers)")
    )
    max_length: int | None = field(default=None, metadata=flag_help("tokens a row; none takes what the model holds"))
    token_budget: int = field(default=2048, metadata=flag_help("tokens a batch in validation, padding included"))
    train_split: str = field(default="train", metadata=flag_help("split that the bends are fitted on"))
    eval_split: str = field(default="eval", metadata=flag_help("validation split; never the test split"))
    eval_steps: int = field(default=100, metadata=flag_help("steps between validations; 0 validates at the end only"))
    eval_points: int = field(default=5, metadata=flag_help("positions of a validation: Chebyshev nodes inside (0, 1)"))
    patience: int = field(
        default=5, metadata=flag_help("validations without a lower objective (see fit_curve) before it stops")
    )
    save_steps: int = field(
        default=0, metadata=flag_help("steps between kept states; 0 keeps one at every validation only")
    )
    seed: int = field(default=0, metadata=flag_help("seed of batches and positions"))

    def __post_init__(self) -> None:
        for name in (
            "num_steps",
            "learning_rate",
            "max_grad_norm",
            "per_device_train_batch_size",
            "gradient_accumulation_steps",
            "positions_per_step",
            "token_budget",
            "eval_points",
            "patience",
        ):
            self._check(name, "a number above 0", holds=getattr(self, name) > 0)
        for name in ("weight_decay", "eval_steps", "save_steps"):
            self._check(name, "0 or a number above", holds=getattr(self, name) >= 0)
        for name in ("learning_rate", "weight_decay"):
            self._check(name, "a finite number", holds=math.isfinite(getattr(self, name)))
        for name, choices in (
            ("optimizer", ("adamw", "sgd")),
            ("schedule", ("garipov", "draxler", "constant")),
            ("uniform_in", ("t", "arc-length")),
        ):
            expected = f"{', '.join(choices[:-1])} or {choices[-1]}"
            self._check(name, expected, holds=getattr(self, name) in choices)
        self._check("eval_split", "a split other than test", holds=self.eval_split != "test")
        self._check("train_split", "a split other than test", holds=self.train_split != "test")
        weights = self.task_weights
        holds = weights is None or (len(weights) > 0 and min(weights) >= 0 and 0 < sum(weights) < math.inf)
        self._check("task_weights", "finite weights of at least 0, not all 0", holds=holds)

    def _check(self, name: str, expected: str, *, holds: bool) -> None:
        """Raises FitError unless a field's value may be used."""
        if not holds:
            flag = name.replace("_", "-")
            raise FitError(
                f"{name} cannot be used for a fit",
                expected=expected,
                got=repr(getattr(self, name)),
                remedy=f"give --{flag} another value",
            )


@dataclass(frozen=True, kw_only=True)
class AutoNebSettings(FitSettings):
    """How AutoNEB moves the pivots of a chain (see `fit_autoneb`).

    The steps are split evenly into cycles. Each ends with a validation, which takes the place of `eval_steps`; every
    pivot is moved at every step, which takes the place of `positions_per_step`.
    """

    optimizer: Literal["adamw", "sgd"] = field(default="sgd", metadata=flag_help("sgd has momentum 0.9"))
    schedule: Literal["garipov", "draxler", "constant"] = field(
        default="draxler", metadata=flag_help("draxler: 3/7 of the steps at the full rate, 2/7 at 0.1, 2/7 at 0.01")
    )
    num_steps: int = field(default=560, metadata=flag_help("optimiser steps, a multiple of the cycles"))
    num_cycles: int = field(default=14, metadata=flag_help("rounds of moving, measuring and inserting pivots"))
    max_pivots: int = field(default=16, metadata=flag_help("no pivots are inserted above this number"))
    segment_points: int = field(default=3, metadata=flag_help("positions inside a segment that are measured"))
    insert_above: float = field(
        default=0.2,
        metadata=flag_help("a pivot is inserted where the loss is this part of the chain's range above the segment's"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("num_cycles", "max_pivots", "segment_points", "insert_above"):
            self._check(name, "a number above 0", holds=getattr(self, name) > 0)
        self._check("num_steps", "a multiple of num_cycles", holds=self.num_steps % self.num_cycles == 0)
        self._check("positions_per_step", "1: every pivot is moved at every step", holds=self.positions_per_step == 1)
        self._check("uniform_in", "t: pivots lie where they lie", holds=self.uniform_in == "t")


@dataclass(frozen=True, kw_only=True)
class SimplexFitSettings(FitSettings):
    """How corners of a simplex are fitted (see `fit_simplex`); positions are points of the simplex."""

    free_corners: tuple[int, ...] = field(
        default=(-1,), metadata=flag_help("numbers of the corners that move, from 0; negative ones count from the last")
    )
    volume_weight: float = field(
        default=0.01, metadata=flag_help("nats that a volume e times as large is worth; 0 leaves the volume alone")
    )
    eval_points: int = field(default=10, metadata=flag_help("points of a validation, uniform in the simplex"))

    def __post_init__(self) -> None:
        super().__post_init__()
        holds = 0 <= self.volume_weight < math.inf
        self._check("volume_weight", "a finite number of at least 0", holds=holds)
        self._check("free_corners", "numbers of corners, each once", holds=len(self.free_corners) > 0)
        self._check("uniform_in", "t: points are uniform in the simplex", holds=self.uniform_in == "t")
