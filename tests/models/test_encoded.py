"""Rows become examples: sums by hand, and every row in its place."""

import numpy as np
import pytest
from random_tasks import random_task

from modeconn.models.encoded import EncodedTask, pad, reduce_rows
from modeconn.tasks.encoding import EncodingSettings
from modeconn.tasks.rows import EncodedRows, Row


def encoded_of(rows, answers):
    return EncodedTask("task", "test", "accuracy", EncodedRows(rows, answers, 0), (), (), None, EncodingSettings())


def two_questions():
    """Two examples with three choices of 1, 2 and 3 tokens; the right ones are the third and the first."""
    rows = tuple(Row((7,), (5,) * (choice + 1), example) for example in range(2) for choice in range(3))
    return encoded_of(rows, (2, 0))


def test_the_right_choice_gives_the_loss_and_its_tokens():
    sums = reduce_rows(two_questions(), np.array([3.0, 2.0, 1.0, 6.0, 5.0, 4.0]), np.zeros(6))
    assert (sums.loss_sum.tolist(), sums.num_tokens.tolist()) == ([1.0, 6.0], [3, 1])


def test_the_likeliest_choice_is_the_answer_whatever_its_length():
    sums = reduce_rows(two_questions(), np.array([3.0, 2.0, 1.0, 6.0, 5.0, 4.0]), np.zeros(6))
    assert sums.score.tolist() == [1.0, 0.0]


def test_of_equally_likely_choices_the_first_counts():
    assert reduce_rows(two_questions(), np.ones(6), np.zeros(6)).score.tolist() == [0.0, 1.0]


def test_free_answers_are_scored_by_their_tokens():
    rows = tuple(Row((7,), (5, 6), example) for example in range(3))
    sums = reduce_rows(encoded_of(rows, (0, 0, 0)), np.array([3.0, 2.0, 1.0]), np.array([1.0, 0.0, 1.0]))
    assert (sums.loss_sum.tolist(), sums.score.tolist()) == ([3.0, 2.0, 1.0], [1.0, 0.0, 1.0])


@pytest.mark.parametrize(("left", "expected"), [(True, [[0, 0, 1], [2, 3, 4]]), (False, [[1, 0, 0], [2, 3, 4]])])
def test_padding_fills_the_side_that_is_asked_for(left, expected):
    assert pad([[1], [2, 3, 4]], 0, left=left).tolist() == expected


@pytest.mark.parametrize("step", [1, 2, 3, 100])
def test_spot_checks_give_every_chosen_row_its_own_loss(step, loaded):
    model, _ = loaded("llama")
    encoded = model.encode(random_task(), settings=EncodingSettings(token_budget=20))
    whole, _ = model.score_rows(model.module, encoded)
    some, _ = model.score_rows(model.module, encoded.every_batch(step))
    scored = ~np.isnan(some)
    np.testing.assert_array_equal(some[scored], whole[scored])
    assert scored.sum() == sum(len(batch.targets) for batch in encoded.batches[::step])


def test_an_encoded_split_says_what_it_is(loaded):
    encoded = loaded("llama")[0].encode(random_task(name="odd"))
    expected = ("odd", "test", "exact_match", 9)
    assert (encoded.task, encoded.split, encoded.metric, encoded.num_examples) == expected


def test_an_example_has_no_loss_where_a_choice_has_none():
    """Of the first question a wrong choice is NaN; its likeliest one would be told wrongly."""
    sums = reduce_rows(two_questions(), np.array([np.nan, 2.0, 1.0, 6.0, 5.0, 4.0]), np.zeros(6))
    assert np.isnan(sums.loss_sum).tolist() == [True, False]
