"""What becomes of single examples."""

import numpy as np
import pandas as pd
import pytest
from simulated_losses import GRID, losses, profile_of, together

import modeconn as mc
from modeconn.evaluation.example_table import EXAMPLE_COLUMNS, lost_examples

T = np.array([0, 0.25, 1])
FATES = {
    "kept": [1, 1, 1],
    "lost on the way": [1, 0, 1],
    "lost at the end": [1, 1, 0],
    "gained": [0, 0, 1],
    "found on the way": [0, 1, 0],
    "never": [0, 0, 0],
}
SUMS = np.array([[2, 8, 2], [2, 6, 6], [1, 1, 1], [0, 1, 8], [4, 2, 0], [3, 3, 5]], dtype=float)
TOKENS = np.array([2, 2, 1, 2, 1, 1])
SMALL = profile_of(SUMS, TOKENS, scores=np.array(list(FATES.values())), t=T)
TASK = mc.Task("tone", {"test": tuple(mc.Example(f"prompt {i}", f"answer {i}") for i in range(6))})


def test_every_fate_has_its_name() -> None:
    table = SMALL.example_barriers()
    assert tuple(table.columns) == EXAMPLE_COLUMNS
    assert table["status"].tolist() == list(FATES)
    assert table["example"].tolist() == list(range(6))
    assert table["num_changes"].tolist() == [0, 2, 1, 1, 2, 0]
    np.testing.assert_array_equal(table["t_changed"], [np.nan, 0.25, 1, 1, 0.25, np.nan])
    np.testing.assert_array_equal(table["score_start"], [1, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(table["score_end"], [1, 1, 0, 1, 0, 0])


def test_barriers_worked_by_hand() -> None:
    table = SMALL.example_barriers()
    np.testing.assert_allclose(table["barrier"], [3, 1.5, 0, 0, 0, 0])  # 4 - 1; 3 - (0.75 * 1 + 0.25 * 3)
    np.testing.assert_allclose(table["t_at_max"], [0.25, 0.25, 0, 0, 0, 0])
    np.testing.assert_allclose(table["loss_start"], SUMS[:, 0] / TOKENS)
    np.testing.assert_allclose(table["loss_end"], SUMS[:, 2] / TOKENS)
    mean = SMALL.example_barriers(baseline="mean")
    np.testing.assert_allclose(mean["barrier"], [3, 1, 0, 2, 2, 1])
    np.testing.assert_allclose(mean["t_at_max"], [0.25, 0.25, 0, 1, 0, 1])
    errors = SMALL.example_barriers("score")
    np.testing.assert_allclose(errors["barrier"], [0, 1, 0, 0.25, 0, 0])
    assert errors["status"].tolist() == list(FATES)


def test_each_barrier_is_that_of_the_example_alone() -> None:
    sums, tokens = losses(rough=True)
    table = profile_of(sums, tokens).example_barriers()
    for one, own, count in zip(table.itertuples(), sums, tokens, strict=True):
        expected = mc.barrier(GRID, own / count)
        assert (one.barrier, one.t_at_max) == (pytest.approx(expected.height, abs=1e-11), expected.t)


def test_partial_credit_counts_from_where_it_is_said() -> None:
    scores = np.array([[0.7, 0.6, 0.7], [0.4, 0.5, 0.4]])
    profile = profile_of(np.ones((2, 3)), np.ones(2), scores=scores, t=T)
    assert profile.example_barriers()["status"].tolist() == ["kept", "found on the way"]
    assert profile.example_barriers(right_from=0.7)["status"].tolist() == ["lost on the way", "never"]
    assert profile.example_barriers(right_from=1.0)["status"].tolist() == ["never", "never"]


def test_lost_examples_come_with_their_text_the_highest_barrier_first() -> None:
    lost = lost_examples(SMALL, [TASK])
    assert lost["status"].tolist() == ["lost on the way", "lost at the end"]
    assert lost["prompt"].tolist() == ["prompt 1", "prompt 2"]
    assert lost["answer"].tolist() == ["answer 1", "answer 2"]
    won = lost_examples(SMALL, [TASK], statuses=["gained", "kept"])
    assert won["example"].tolist() == [0, 3]


def test_texts_of_some_tasks_leave_the_others_without() -> None:
    both = together(SMALL, profile_of(SUMS, TOKENS, task="other", t=T))
    table = both.example_barriers(texts=[TASK])
    assert table["prompt"].notna().tolist() == [True] * 6 + [False] * 6
    assert set(lost_examples(both, [TASK])["task"]) == {"tone"}
    assert len(both.mixture(name="mean").example_barriers()) == 12  # a mixture has no examples of its own


def test_examples_keep_their_numbers() -> None:
    some = mc.Profile(SMALL.frame, SMALL.examples.query("example in (1, 4)"))
    lost = lost_examples(some, [TASK])
    assert lost["example"].tolist() == [1]
    assert lost["prompt"].tolist() == ["prompt 1"]


def test_the_order_of_the_records_does_not_matter() -> None:
    given = profile_of(*losses(rough=True))
    shuffled = mc.Profile(given.frame, given.examples.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(shuffled.example_barriers(), given.example_barriers())


def test_constant_scores_are_kept_or_never() -> None:
    for score, status in ((1, "kept"), (0, "never")):
        profile = profile_of(SUMS, TOKENS, scores=np.full((6, 3), score), t=T)
        table = profile.example_barriers("score")
        assert set(table["status"]) == {status}
        assert not table["barrier"].any()


def test_an_example_without_a_loss_is_named() -> None:
    broken = SMALL.examples.copy()
    broken.loc[(broken["example"] == 4) & (broken["t"] == 0), "loss_sum"] = np.nan
    broken.loc[(broken["example"] == 2) & (broken["t"] == 1), "loss_sum"] = np.inf
    profile = mc.Profile(SMALL.frame, broken)
    with pytest.raises(mc.EvaluationError, match=r"(?s)tone on line have no loss.*2 of 6.*at examples 2, 4\n.*remedy"):
        profile.example_barriers()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metric": "bleu"}, r"(?s)unknown metric 'bleu'.*remedy"),
        ({"baseline": "convexity"}, r"(?s)unknown baseline 'convexity'.*remedy"),
        ({"right_from": 0.0}, r"(?s)no score can be right.*above 0 and at most 1.*right_from=0\n.*remedy"),
        ({"texts": [mc.Task("x", TASK.splits)]}, r"(?s)no examples of 'x' in the profile.*some of tone.*remedy"),
        (
            {"texts": [mc.Task("tone", {"test": TASK.split("test")[:3]})]},
            r"(?s)other examples than the task 'tone' has.*numbers below 3.*split 'test'.*example 5\n.*remedy",
        ),
    ],
)
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(mc.EvaluationError, match=message):
        SMALL.example_barriers(**settings)


def test_lists_that_cannot_be_made() -> None:
    with pytest.raises(mc.EvaluationError, match=r"(?s)cannot list examples.*got: no task\n.*remedy"):
        lost_examples(SMALL, [])
    with pytest.raises(mc.EvaluationError, match=r"(?s)statuses of kept, lost on the way.*got: forgotten\n.*remedy"):
        lost_examples(SMALL, [TASK], statuses=["forgotten"])  # type: ignore[list-item]
    with pytest.raises(mc.TaskError, match="no split 'test'"):
        lost_examples(SMALL, [mc.Task("tone", {"train": TASK.split("test")})])
