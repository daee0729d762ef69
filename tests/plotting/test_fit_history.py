import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from modeconn.errors import EvaluationError
from modeconn.plotting.fit_history import plot_fit_history


@pytest.fixture
def history():
    """A hundred steps, validated at 0, 50 and 100; the second validation is the best."""
    step = np.arange(101)
    frame = pd.DataFrame({"step": step, "loss": 3.0 - step / 50, "learning_rate": np.where(step < 50, 1e-3, 1e-4)})
    frame.loc[0, ["loss", "learning_rate"]] = np.nan
    frame["worst_loss"] = pd.Series({0: 4.0, 50: 1.0, 100: 2.0}).reindex(step).to_numpy()
    return frame


def named(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_both_losses_and_the_rate_are_drawn(history):
    top, bottom = plot_fit_history(history).axes
    assert named(top)["loss of a step's batch"].get_ydata().tolist() == history["loss"][1:].tolist()
    validation = named(top)["worst of positions, validation"]
    assert validation.get_xydata().tolist() == [[0, 4], [50, 1], [100, 2]]
    assert bottom.get_lines()[0].get_ydata().tolist() == history["learning_rate"][1:].tolist()


def test_the_star_marks_the_curve_that_was_kept(history):
    top, _ = plot_fit_history(history).axes
    assert named(top)["curve kept"].get_xydata().tolist() == [[50, 1]]


def test_the_objective_is_what_the_star_is_on(history):
    noted = history.assign(worst_of=5.0, objective=history["worst_loss"].map({4.0: 3.0, 1.0: 0.9, 2.0: 0.5}))
    top, _ = plot_fit_history(noted).axes
    assert named(top)["objective, validation"].get_xydata().tolist() == [[0, 3], [50, 0.9], [100, 0.5]]
    assert named(top)["worst of 5 positions, validation"].get_xydata().tolist() == [[0, 4], [50, 1], [100, 2]]
    assert named(top)["curve kept"].get_xydata().tolist() == [[100, 0.5]]


def test_the_running_mean_is_over_a_25th_of_the_steps(history):
    top, _ = plot_fit_history(history).axes
    mean = named(top)["mean over 4 steps"].get_ydata()
    assert mean[50] == pytest.approx(history["loss"][49:53].mean())


def test_a_short_fit_has_no_running_mean(history):
    top, _ = plot_fit_history(history.head(11)).axes
    assert list(named(top)) == ["loss of a step's batch", "worst of positions, validation", "curve kept"]


def test_a_fit_without_a_step_shows_its_validation(history):
    top, _ = plot_fit_history(history.head(1)).axes
    assert named(top)["curve kept"].get_xydata().tolist() == [[0, 4]]


def test_rows_may_come_in_any_order(history):
    top, _ = plot_fit_history(history.iloc[::-1]).axes
    assert named(top)["loss of a step's batch"].get_xdata().tolist() == list(range(1, 101))


def test_nothing_stays_open(history):
    plot_fit_history(history)
    assert plt.get_fignums() == []


def test_bad_tables(history):
    with pytest.raises(EvaluationError, match=r"(?s)the history of a fit: the table lacks.*no worst_loss"):
        plot_fit_history(history.drop(columns="worst_loss"))
    with pytest.raises(EvaluationError, match=r"loss=inf at step=3"):
        plot_fit_history(history.assign(loss=history["loss"].where(history["step"] != 3, np.inf)))
    with pytest.raises(EvaluationError, match=r"objective=inf at step=50"):
        plot_fit_history(history.assign(objective=history["worst_loss"].replace(1.0, np.inf)))
    with pytest.raises(EvaluationError, match=r"one row for each step"):
        plot_fit_history(pd.concat([history, history]))
    with pytest.raises(EvaluationError, match=r"(?s)holds no loss.*got: missing values only"):
        plot_fit_history(history.assign(loss=np.nan, worst_loss=np.nan))
