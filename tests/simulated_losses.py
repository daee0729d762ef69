"""Per-example losses along a path whose mean is known."""

import numpy as np
import pandas as pd

import modeconn as mc

GRID = np.linspace(0, 1, 11)
BUMP = 4 * GRID * (1 - GRID)


def losses(
    *, num_examples: int = 60, height: float = 0.0, rough: bool = False, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Summed losses `[N, T]` on `GRID` and tokens `[N]`; the true chord barrier is `height`."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, 6, size=num_examples).astype(float)
    wave = rng.normal(size=(num_examples, 1)) * np.sin(np.pi * GRID)
    noise = rng.normal(size=(num_examples, len(GRID))) if rough else wave
    level = 3 - GRID + rng.normal(size=(num_examples, 1)) + noise + height * BUMP
    return level * tokens[:, None], tokens


def profile_of(
    sums: np.ndarray,
    tokens: np.ndarray,
    *,
    scores: np.ndarray | None = None,
    t: np.ndarray = GRID,
    path: str = "line",
    task: str = "tone",
    split: str = "test",
) -> mc.Profile:
    """A profile of losses and scores `[N, T]`; by default the score is 1 where the loss per token is below 2."""
    count = len(sums)
    if scores is None:
        scores = sums / tokens[:, None] < 2
    examples = pd.DataFrame({
        "path": path, "task": task, "t": np.repeat(t, count), "example": np.tile(np.arange(count), len(t)),
        "loss_sum": sums.T.ravel(), "num_tokens": np.tile(tokens, len(t)), "score": scores.T.ravel().astype(float),
    })  # fmt: skip
    distances = dict(zip(t.tolist(), (2 * t).tolist(), strict=True))
    return mc.Profile.from_examples(
        examples, space="weights", split=split, metrics={task: "accuracy"}, distances=distances
    )


def together(*profiles: mc.Profile) -> mc.Profile:
    """Profiles of different tasks on one path as one, as an evaluation of all tasks gives it."""
    return mc.Profile(
        *(pd.concat([getattr(one, name) for one in profiles], ignore_index=True) for name in ("frame", "examples"))
    )
