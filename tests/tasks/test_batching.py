"""Batches: every row once, within the budget, the same every time."""

from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modeconn.tasks.batching import shuffled_batches, token_budget_batches

LENGTHS = st.lists(st.integers(1, 60), max_size=80)
BUDGETS = st.integers(1, 200)


@given(lengths=LENGTHS, budget=BUDGETS)
def test_every_row_is_in_one_batch(lengths, budget):
    assert sorted(chain(*token_budget_batches(lengths, budget))) == list(range(len(lengths)))


@given(lengths=LENGTHS, budget=BUDGETS)
def test_no_padded_batch_is_larger_than_the_budget_but_for_a_single_row(lengths, budget):
    for batch in token_budget_batches(lengths, budget):
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget


@given(lengths=LENGTHS, budget=BUDGETS)
def test_a_batch_is_closed_only_when_the_next_row_would_not_fit(lengths, budget):
    batches = token_budget_batches(lengths, budget)
    for batch in batches[:-1]:
        assert (len(batch) + 1) * lengths[batch[0]] > budget


def test_equal_rows_keep_their_order():
    assert token_budget_batches([5] * 6, 10) == [[0, 1], [2, 3], [4, 5]]


def test_the_largest_batch_comes_first():
    assert token_budget_batches([1, 9, 2, 30, 3], 12) == [[3], [1], [4, 2, 0]]


@pytest.mark.parametrize("budget", [0, -1])
def test_a_budget_without_tokens_is_refused(budget):
    with pytest.raises(ValueError, match=f"token_budget must be at least 1, got {budget}"):
        token_budget_batches([3], budget)


def shuffled(lengths, batch_size, seed):
    return shuffled_batches(lengths, batch_size, torch.Generator().manual_seed(seed))


@given(lengths=LENGTHS, batch_size=st.integers(1, 9), seed=st.integers(0, 99))
def test_training_sees_every_row_once(lengths, batch_size, seed):
    assert sorted(chain(*shuffled(lengths, batch_size, seed))) == list(range(len(lengths)))


@given(lengths=LENGTHS, batch_size=st.integers(1, 9))
def test_all_training_batches_but_one_are_full(lengths, batch_size):
    sizes = sorted(len(batch) for batch in shuffled(lengths, batch_size, 0))
    assert sizes[1:] == [batch_size] * (len(sizes) - 1)
    assert sizes[:1] <= [batch_size]


def test_the_generator_alone_decides_the_order():
    lengths = list(range(1, 101))
    torch.manual_seed(1)
    first = shuffled(lengths, 4, seed=0)
    torch.manual_seed(2)
    assert shuffled(lengths, 4, seed=0) == first
    assert shuffled(lengths, 4, seed=1) != first


def test_the_next_epoch_of_one_generator_is_another():
    generator = torch.Generator().manual_seed(0)
    assert shuffled_batches([1] * 50, 5, generator) != shuffled_batches([1] * 50, 5, generator)


def test_training_batches_hold_rows_of_like_length():
    """With 64 rows of 64 lengths, four a batch and one pool, each batch holds four neighbours in length."""
    batches = shuffled(list(range(64)), 4, seed=0)
    assert sorted(sorted(batch) for batch in batches) == [[i, i + 1, i + 2, i + 3] for i in range(0, 64, 4)]
