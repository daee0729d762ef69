"""Per-example losses along a path whose mean is known."""

import numpy as np

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
