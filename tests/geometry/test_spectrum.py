"""Ranks that are not whole numbers, by their closed forms."""

import numpy as np
import pytest
import torch

from modeconn.errors import EvaluationError
from modeconn.geometry.spectrum import effective_rank, stable_rank

RANKS = [stable_rank, effective_rank]


@pytest.mark.parametrize("rank", RANKS)
def test_equal_values_count_in_full(rank):
    assert rank(torch.full((5,), 0.3)) == pytest.approx(5.0)


@pytest.mark.parametrize("rank", RANKS)
def test_scale_and_zeros_change_nothing(rank):
    values = np.array([3.0, 1.0, 0.25])
    assert rank([*(1e-8 * values), 0.0]) == pytest.approx(rank(values))


@pytest.mark.parametrize("rank", RANKS)
def test_nothing_has_no_rank(rank):
    assert rank([]) == rank([0.0, 0.0]) == 0.0


def test_two_values():
    assert stable_rank([2.0, 1.0]) == pytest.approx(1.25)
    assert effective_rank([2.0, 1.0]) == pytest.approx(3 / 2 ** (2 / 3))  # entropy log 3 - 2/3 log 2


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_what_is_no_spectrum_is_refused(rank, value):
    with pytest.raises(EvaluationError, match=r"(?s)no singular values.*expected: finite.*got: .*remedy: "):
        rank([1.0, value])
