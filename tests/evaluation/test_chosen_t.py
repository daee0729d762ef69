"""A position chosen on one split and reported on another."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from simulated_losses import profile_of, together

import modeconn as mc
from modeconn.evaluation.barrier_interval import barrier_interval
from modeconn.evaluation.chosen_t import CHOSEN_COLUMNS, choose_t
from modeconn.evaluation.trade_off import MEAN, best_t

T = np.linspace(0, 1, 5)
OLD, NEW = np.array([0.9, 0.85, 0.8, 0.5, 0.3]), np.array([0.2, 0.5, 0.8, 0.85, 0.9])  # true scores, best at 0.5


def drawn(split: str, *, seed: int = 0, sizes: tuple[int, int] = (150, 60), t: np.ndarray = T) -> mc.Profile:
    """Two tasks of random examples, each right up to a level of its own; the loss falls with the score."""
    rng = np.random.default_rng([seed, split == "test"])
    profiles = []
    for name, chances, size in (("old", OLD, sizes[0]), ("new", NEW, sizes[1])):
        scores = rng.random((size, 1)) < np.interp(t, T, chances)
        losses = 2 - scores + 0.3 * rng.normal(size=(size, 1))
        profiles.append(profile_of(losses, np.ones(size), scores=scores, t=t, task=name, split=split))
    return together(*profiles)


VALIDATION, TEST = drawn("eval"), drawn("test")


def row(found: object, quantity: str, task: str = MEAN) -> pd.Series:
    table = found.table  # type: ignore[attr-defined]
    return table[(table["task"] == task) & (table["quantity"] == quantity)].iloc[0]


def test_the_best_on_one_split_is_reported_on_the_other() -> None:
    found = choose_t(VALIDATION, TEST)
    assert found.on_validation == best_t(VALIDATION)
    assert (found.t, found.best_on_test) == (best_t(VALIDATION).t, best_t(TEST))
    assert found.tasks == ("old", "new")
    assert tuple(found.table.columns) == CHOSEN_COLUMNS
    assert set(found.table["split"]) == {"test"}
    means = TEST.frame.groupby("t")["score"].mean()
    assert row(found, "at t")["value"] == pytest.approx(means[found.t])
    assert row(found, "gain over start")["value"] == pytest.approx(means[found.t] - means[0])
    assert row(found, "gain over end")["value"] == pytest.approx(means[found.t] - means[1])
    assert row(found, "gain over both")["value"] == pytest.approx(means[found.t] - means[[0, 1]].max())
    assert row(found, "behind the best")["value"] == pytest.approx(means.max() - means[found.t])
    assert found.better_than_both


def test_weights_decide_what_is_best() -> None:
    """With the old task alone in all but name the start is best, as it is not for the mean."""
    weights = {"old": 99.0, "new": 1.0}
    found = choose_t(VALIDATION, TEST, tasks=weights)
    assert found.t == best_t(VALIDATION, tasks=weights).t == 0.0 != choose_t(VALIDATION, TEST).t
    scores = TEST.frame.pivot(index="t", columns="task", values="score")
    assert row(found, "at t")["value"] == pytest.approx(0.99 * scores["old"][0] + 0.01 * scores["new"][0])
    assert found.tasks == ("old", "new")
    with pytest.raises(mc.EvaluationError, match="weights that are none"):
        best_t(VALIDATION, tasks={"old": 1.0, "new": 0.0})


def test_losses_that_fall_are_gains() -> None:
    found = choose_t(VALIDATION, TEST, metric="loss")
    old = TEST.frame[TEST.frame["task"] == "old"].set_index("t")["loss"]
    assert row(found, "gain over end", "old")["value"] == pytest.approx(old[1] - old[found.t])
    assert row(found, "gain over end", "old")["value"] > 0
    assert row(found, "at t", "old")["value"] == pytest.approx(old[found.t])


def test_the_gain_of_one_task_is_a_paired_test() -> None:
    found = choose_t(VALIDATION, TEST, metric="loss", num_resamples=20_000)
    gain = row(found, "gain over start", "old")
    losses = TEST.examples[TEST.examples["task"] == "old"].pivot(index="example", columns="t", values="loss_sum")
    paired = stats.ttest_rel(losses[0.0], losses[found.t])
    low, high = paired.confidence_interval(0.95)
    width = high - low
    assert (gain["low"], gain["high"]) == pytest.approx((low, high), abs=0.12 * width)


def test_the_mean_adds_the_variances_of_its_tasks() -> None:
    rng = np.random.default_rng(0)
    test = together(*(
        profile_of(3 + spread * rng.normal(size=(count, 5)), np.ones(count), t=T, task=task)
        for task, count, spread in (("old", 300, 2.0), ("new", 200, 1.0))
    ))  # fmt: skip
    table = choose_t(VALIDATION, test, metric="loss", num_resamples=20_000).table
    gains = table[table["quantity"] == "gain over end"].set_index("task")
    reach = gains["high"] - gains["low"]
    assert reach[MEAN] == pytest.approx(np.hypot(reach["old"], reach["new"]) / 2, rel=0.03)


def test_intervals_hold_the_truth_whatever_was_chosen() -> None:
    held = {"gain over start": 0, "gain over end": 0, "gain over both": 0, "behind the best": 0}
    for seed in range(60):
        found = choose_t(
            drawn("eval", seed=seed, sizes=(30, 30)), drawn("test", seed=seed), num_resamples=400, seed=seed
        )
        true = (OLD + NEW) / 2
        chosen = true[found.t == T][0]
        truths = (chosen - true[0], chosen - true[-1], chosen - max(true[0], true[-1]), true.max() - chosen)
        for name, truth in zip(held, truths, strict=True):
            own = row(found, name)
            held[name] += own["low"] - 1e-12 <= truth <= own["high"] + 1e-12
    assert min(held.values()) >= 35  # of 40; 38 expected


def test_behind_the_best_is_a_maximum_like_a_barrier() -> None:
    """With one task and the choice at both ends' level, it is the barrier of the loss turned over."""
    rng = np.random.default_rng(0)
    losses = 3 - np.array([0, 1, 1.2, 0, 0]) * np.ones((60, 1)) + rng.normal(size=(60, 1)) * np.sin(np.pi * T)
    losses[:, -1] = losses[:, 0]
    test = profile_of(losses, np.ones(60), t=T)
    flat = profile_of(np.ones((8, 5)), np.ones(8), t=T, split="eval")  # chooses t = 0
    own = row(choose_t(flat, test, metric="loss"), "behind the best")
    expected = barrier_interval(T, -losses, np.ones(60))
    assert (own["value"], own["low"], own["high"]) == pytest.approx((expected.height, expected.low, expected.high))


def test_an_end_that_is_chosen_gains_nothing_over_itself() -> None:
    test = profile_of(np.ones((20, 5)), np.ones(20), scores=np.arange(20)[:, None] < 20 * T[::-1], t=T)
    flat = profile_of(np.ones((8, 5)), np.ones(8), scores=np.ones((8, 5)), t=T, split="eval")
    found = choose_t(flat, test)
    assert found.t == 0
    start = row(found, "gain over start")
    assert (start["value"], start["low"], start["high"], start["p_value"]) == (0, 0, 0, 1)
    assert row(found, "gain over end")["low"] > 0
    assert not found.better_than_both


def test_the_test_split_needs_three_positions_only() -> None:
    chosen = best_t(VALIDATION).t
    few = drawn("test", t=np.array([0, chosen, 1]))
    found, whole = choose_t(VALIDATION, few), choose_t(VALIDATION, TEST)
    for quantity in ("at t", "gain over start", "gain over both"):
        assert row(found, quantity)["value"] == row(whole, quantity)["value"]


def test_fewer_than_eight_examples_have_no_interval() -> None:
    found = choose_t(VALIDATION, drawn("test", sizes=(150, 7)))
    gains = found.table[found.table["quantity"] != "at t"].set_index("task")
    assert gains["value"].notna().all()
    assert gains.loc["new", ["low", "high", "p_value"]].isna().all(axis=None)
    assert gains.loc[MEAN, ["low", "high", "p_value"]].isna().all(axis=None)
    assert gains.loc["old", ["low", "high", "p_value"]].notna().all(axis=None)
    assert not found.better_than_both


def test_the_order_of_the_records_does_not_matter() -> None:
    shuffled = mc.Profile(TEST.frame, TEST.examples.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(choose_t(VALIDATION, shuffled).table, choose_t(VALIDATION, TEST).table)


def moved(profile: mc.Profile, **columns: object) -> mc.Profile:
    return mc.Profile(profile.frame.assign(**columns), profile.examples)


def test_one_split_cannot_choose_and_report() -> None:
    with pytest.raises(mc.EvaluationError, match=r'(?s)same split.*split="eval".*got: test twice.*remedy'):
        choose_t(TEST, TEST)
    with pytest.raises(mc.EvaluationError, match=r"(?s)same split.*got: test twice"):
        choose_t(drawn("test", seed=1), TEST)


def test_a_position_that_the_test_split_lacks() -> None:
    with pytest.raises(
        mc.EvaluationError, match=r"(?s)lacks the position.*t = 0.5, 0 and 1.*nearest t = 0\n.*t=\[0, 0.5, 1\]"
    ):
        choose_t(VALIDATION, drawn("test", t=T[[0, -1]]))
    nearly = drawn("test", t=T + np.array([0, 0, 1e-12, 0, 0]))
    assert row(choose_t(VALIDATION, nearly), "at t")["value"] == row(choose_t(VALIDATION, TEST), "at t")["value"]


@pytest.mark.parametrize(
    ("test", "settings", "message"),
    [
        (moved(TEST, space="factors"), {}, r"(?s)different paths.*different spaces.*remedy"),
        (moved(TEST, distance=3 * TEST.frame["distance"]), {}, r"(?s)different paths.*other distances.*remedy"),
        (profile_of(np.ones((9, 5)), np.ones(9), t=T, task="old"), {}, r"(?s)not tasks of the profile.*some of old"),
        (TEST, {"tasks": ["x"]}, r"(?s)not tasks of the profile.*got: x\n"),
        (TEST, {"path": "x"}, r"(?s)no path 'x'"),
        (moved(TEST, path="other"), {}, r"(?s)no path 'line'.*one of other"),
        (TEST, {"metric": "f1"}, r"(?s)unknown metric 'f1'"),
        (TEST, {"confidence": 95}, r"(?s)no interval of this confidence"),
    ],
)
def test_bad_input(test: mc.Profile, settings: dict, message: str) -> None:
    with pytest.raises(mc.EvaluationError, match=message):
        choose_t(VALIDATION, test, **settings)


def test_real_checkpoints_on_two_splits(ends: list[mc.Adapter], model: mc.AdapterModel, tasks: list[mc.Task]) -> None:
    line = mc.LinearPath(*ends)
    validation = mc.evaluate_path(line, model, tasks, num_points=5, split="train")
    chosen = best_t(validation, metric="loss").t
    test = mc.evaluate_path(line, model, tasks, t=sorted({0.0, chosen, 1.0}), split="test")
    found = choose_t(validation, test, metric="loss", num_resamples=200)
    assert found.t == chosen
    assert found.tasks == ("first", "second")
    means = test.frame.groupby("t")["loss"].mean()
    assert row(found, "gain over both")["value"] == pytest.approx(means[[0, 1]].min() - means[chosen])
    assert found.table["low"].notna().all()
