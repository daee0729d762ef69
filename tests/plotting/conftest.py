"""Small tables with values that can be checked by hand."""

import pandas as pd
import pytest


@pytest.fixture
def profile_table():
    """Two paths of three points, two tasks; on the first path the mean loss is best at 0.5, the mean score at 1."""
    loss = {"old": [1.0, 1.2, 3.0], "new": [2.0, 0.4, 0.5]}
    score = {"old": [0.8, 0.7, 0.6], "new": [0.1, 0.4, 0.9]}
    rows = [
        {
            "path": path,
            "space": "weights",
            "task": task,
            "split": "test",
            "t": t,
            "loss": loss[task][i] + shift,
            "loss_low": loss[task][i] + shift - 0.1,
            "loss_high": loss[task][i] + shift + 0.3,
            "score": score[task][i],
            "score_low": float("nan"),
            "score_high": float("nan"),
            "metric": "exact_match",
            "num_examples": 50,
            "num_tokens": 120,
            "distance": t,
        }
        for path, shift in (("one -> two", 0.0), ("two -> three", 5.0))
        for task in ("old", "new")
        for i, t in enumerate((0.0, 0.5, 1.0))
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def one_path(profile_table):
    """The first of the two paths."""
    return profile_table[profile_table["path"] == "one -> two"]


@pytest.fixture
def scores_table():
    """A run of two tasks and two seeds; the second seed did not score `new` before training."""
    score = {(0, "old"): 0.2, (0, "new"): 0.1, (1, "old"): 0.8, (1, "new"): 0.3, (2, "old"): 0.5, (2, "new"): 0.7}
    rows = [
        {
            "method": "sequential",
            "adapter": "lora",
            "seed": seed,
            "after_task": after,
            "task": task,
            "metric": "accuracy",
            "score": value + 0.1 * seed,
        }
        for seed in (0, 1)
        for (after, task), value in score.items()
        if (seed, after, task) != (1, 0, "new")
    ]
    return pd.DataFrame(rows)
