"""Several paths in one axes."""

import numpy as np
import pandas as pd
import pytest

from modeconn.errors import EvaluationError, RunError
from modeconn.plotting import plot_paths_compared

T = np.linspace(0, 1, 5)


def table():
    rows = []
    for path, space, height in (
        ("a -> b", "weights", 1.0),
        ("bezier a -> b", "weights", 0.2),
        ("a -> b", "factors", 2),
    ):
        for number, task in enumerate(("old", "new")):
            for t in T:
                loss = number + height * t * (1 - t)
                rows.append((path, space, task, "test", t, loss, 1 - loss / 10, "accuracy", 100, 200))
    names = ["path", "space", "task", "split", "t", "loss", "score", "metric", "num_examples", "num_tokens"]
    return pd.DataFrame(rows, columns=names)


def test_one_line_a_path_and_space_through_the_means_over_tasks() -> None:
    ax = plot_paths_compared(table())
    lines = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
    assert len(lines) == 3
    for (label, values), height in zip(lines.items(), (1.0, 0.2, 2.0), strict=True):
        assert label.endswith(("(weights)", "(factors)"))
        np.testing.assert_allclose(values, 0.5 + height * T * (1 - T))


def test_tasks_can_be_chosen_and_scores_drawn() -> None:
    ax = plot_paths_compared(table(), metric="score", tasks=["new"])
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), 1 - (1 + T * (1 - T)) / 10)
    assert ax.get_ylabel() == "accuracy"


def test_a_figure_of_the_users_own() -> None:
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert plot_paths_compared(table(), ax=ax) is ax
    assert ax.get_legend() is not None


def test_bad_input() -> None:
    with pytest.raises(RunError, match="cannot draw the mean of these tasks"):
        plot_paths_compared(table(), tasks=["none"])
    with pytest.raises(EvaluationError):
        plot_paths_compared(pd.concat([table(), table()]))
    with pytest.raises(EvaluationError):
        plot_paths_compared(table().drop(columns="loss"))
