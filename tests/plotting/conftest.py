"""Small tables with values that can be checked by hand, and where the texts of a figure stand."""

import itertools

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text


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


@pytest.fixture
def clashes():
    """A function from a figure to its texts that leave it, and its pairs of texts that overlap."""

    def found(figure):
        FigureCanvasAgg(figure).draw()
        return [*outside(figure), *overlapping(figure)]

    return found


def visible_texts(figure):
    """The texts that are drawn: not empty, and not the labels of ticks beyond an axis's limits."""
    axes = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    ticks = [(tick, *sorted(axis.get_view_interval())) for axis in axes for tick in axis.get_major_ticks()]
    beyond = {tick.label1 for tick, low, high in ticks if not low <= tick.get_loc() <= high}
    texts = set(figure.findobj(Text)) - beyond
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


def outside(figure):
    """Texts that reach more than a pixel over the figure's edge."""
    width, height = figure.bbox.size
    boxes = [(text.get_text(), text.get_window_extent()) for text in visible_texts(figure)]
    return [t for t, box in boxes if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1]


def overlapping(figure):
    """Pairs of texts whose boxes share more than a pixel in both directions; slanted texts, which are no boxes, not."""
    upright = [text for text in visible_texts(figure) if text.get_rotation() % 90 == 0]
    boxes = [(text.get_text(), text.get_window_extent().padded(-1)) for text in upright]
    return [(a, b) for (a, first), (b, second) in itertools.combinations(boxes, 2) if first.overlaps(second)]
