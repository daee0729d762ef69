"""Old task against new task, and the best position for both."""

import numpy as np
import pytest
from simulated_losses import profile_of, together

import modeconn as mc
from modeconn.evaluation.trade_off import MEAN, TRADE_OFF_COLUMNS, best_t, trade_off

T = np.array([0, 0.25, 0.5, 0.75, 1])
RIGHT_OLD, RIGHT_NEW = [9, 9, 8, 8, 2], [1, 5, 7, 6, 8]  # of 10
LOSS_OLD, LOSS_NEW = [0.2, 0.3, 0.4, 0.9, 2.0], [3.0, 1.5, 0.8, 0.9, 0.3]


def task(name: str, right: list[int], loss: list[float], *, path: str = "line", split: str = "test") -> mc.Profile:
    """Ten examples of one task, of which some are right."""
    scores = np.arange(10)[:, None] < np.array(right)
    return profile_of(np.tile(loss, (10, 1)), np.ones(10), scores=scores, t=T, task=name, path=path, split=split)


PROFILE = together(task("old", RIGHT_OLD, LOSS_OLD), task("new", RIGHT_NEW, LOSS_NEW))


def test_scores_and_losses_of_both_along_the_path() -> None:
    table = trade_off(PROFILE, old="old", new="new")
    assert tuple(table.columns) == TRADE_OFF_COLUMNS
    np.testing.assert_allclose(table["old"], np.array(RIGHT_OLD) / 10)
    np.testing.assert_allclose(table["new"], np.array(RIGHT_NEW) / 10)
    np.testing.assert_allclose(table["mean"], (np.array(RIGHT_OLD) + np.array(RIGHT_NEW)) / 20)
    np.testing.assert_array_equal(table["t"], T)
    assert (table["old_low"] < table["old"]).all()
    assert (table["mean_high"] > table["mean"]).all()
    np.testing.assert_allclose(trade_off(PROFILE, old="old", new="new", metric="loss")["new"], LOSS_NEW)


def test_the_front_is_what_nothing_beats() -> None:
    # (9, 1) is beaten by (9, 5), and (8, 6) by (8, 7)
    assert trade_off(PROFILE, old="old", new="new")["pareto"].tolist() == [False, True, True, False, True]
    # losses: 0.75 is beaten by 0.5
    assert trade_off(PROFILE, old="old", new="new", metric="loss")["pareto"].tolist() == [True, True, True, False, True]


def test_positions_that_are_the_same_are_both_on_the_front() -> None:
    flat = together(task("old", [5] * 5, LOSS_OLD), task("new", [6] * 5, LOSS_NEW))
    assert trade_off(flat, old="old", new="new")["pareto"].all()


def test_every_path_has_its_own_front() -> None:
    other = together(task("old", [9, 5, 5, 5, 5], LOSS_OLD, path="p"), task("new", [9, 5, 5, 5, 5], LOSS_NEW, path="p"))
    table = trade_off(mc.Profile.concat([PROFILE, other]), old="old", new="new").set_index("path")
    assert table.loc["line", "pareto"].tolist() == [False, True, True, False, True]
    assert table.loc["p", "pareto"].tolist() == [True, False, False, False, False]


def test_a_mixture_can_be_the_old_task() -> None:
    profile = together(PROFILE, task("older", [10] * 5, LOSS_OLD)).mixture({"old": 1, "older": 1}, name="all old")
    table = trade_off(profile, old="all old", new="new")
    np.testing.assert_allclose(table["old"], (np.array(RIGHT_OLD) / 10 + 1) / 2)
    np.testing.assert_allclose(table["mean"], (table["old"] + table["new"]) / 2)


def test_the_best_position_for_the_mean() -> None:
    assert best_t(PROFILE) == (0.5, pytest.approx(0.75))
    assert best_t(PROFILE, metric="loss") == (0.5, pytest.approx(0.6))
    assert best_t(PROFILE, tasks=["new"]) == (1, pytest.approx(0.8))
    assert best_t(PROFILE.mixture(name="mean")) == (0.5, pytest.approx(0.75))


def test_of_equal_scores_the_lowest_loss_decides_and_then_the_first() -> None:
    equal = together(task("old", [9, 8, 7, 6, 5], LOSS_OLD), task("new", [5, 6, 7, 8, 9], [3, 1.5, 0.8, 0.1, 0.3]))
    assert best_t(equal).t == 0.75  # 0.9 + 0.1; 0.5 has 0.4 + 0.8
    flat = together(task("old", [5] * 5, [1.0] * 5), task("new", [5] * 5, [1.0] * 5))
    assert best_t(flat) == (0, 0.5)


def test_the_order_of_tasks_and_records_does_not_matter() -> None:
    turned = together(task("new", RIGHT_NEW, LOSS_NEW), task("old", RIGHT_OLD, LOSS_OLD))
    assert best_t(turned) == best_t(PROFILE)
    assert trade_off(turned, old="old", new="new").equals(trade_off(PROFILE, old="old", new="new"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"old": "x"}, r"(?s)not tasks of the profile.*some of new, old.*got: new, x\n.*remedy"),
        ({"old": "new"}, r"(?s)needs two tasks.*'new' twice.*remedy"),
        ({"path": "x"}, r"(?s)no path 'x'.*one of line.*remedy"),
        ({"metric": "f1"}, r"(?s)unknown metric 'f1'"),
    ],
)
def test_bad_trade_offs(settings: dict, message: str) -> None:
    with pytest.raises(mc.EvaluationError, match=message):
        trade_off(PROFILE, **({"old": "old", "new": "new"} | settings))


def test_bad_questions_for_the_best() -> None:
    with pytest.raises(mc.EvaluationError, match=r"(?s)not tasks of the profile.*each once.*got: none\n"):
        best_t(PROFILE, tasks=[])
    with pytest.raises(mc.EvaluationError, match=r"(?s)not tasks of the profile.*got: new, new\n"):
        best_t(PROFILE, tasks=["new", "new"])
    other = together(task("old", RIGHT_OLD, LOSS_OLD, path="p"))
    with pytest.raises(mc.EvaluationError, match=r"(?s)several paths.*got: line, p\n.*path=\.\.\."):
        best_t(mc.Profile.concat([PROFILE, other]))
    with pytest.raises(mc.EvaluationError, match=rf"cannot be called '{MEAN}'"):
        best_t(PROFILE.mixture(name=MEAN))
