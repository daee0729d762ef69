"""Scores of examples."""

import numpy as np
import pytest

from modeconn.errors import EvaluationError
from modeconn.tasks import accuracy, exact_match


def test_accuracy_scores_each_example():
    np.testing.assert_array_equal(accuracy([0, 2, 1], [0, 1, 1]), [1.0, 0.0, 1.0], strict=True)


def test_exact_match_strips_the_ends_only():
    scores = exact_match([" 42\n", "a  b", "Ja"], ["42", "a b", "ja"])
    np.testing.assert_array_equal(scores, [1.0, 0.0, 0.0], strict=True)


def test_exact_match_keeps_a_nul_at_the_end():
    assert exact_match(["a\0"], ["a"]).tolist() == [0.0]


@pytest.mark.parametrize("metric", [accuracy, exact_match])
@pytest.mark.parametrize(("predicted", "expected"), [(["a"], ["a", "b"]), ("a", ["a"]), ([["a"]], [["a"]])])
def test_vectors_of_one_length_are_needed(metric, predicted, expected):
    with pytest.raises(EvaluationError, match=r"cannot score predictions\n  expected: vectors of one length"):
        metric(predicted, expected)


@pytest.mark.parametrize("metric", [accuracy, exact_match])
def test_no_examples_have_no_scores(metric):
    assert metric([], []).shape == (0,)
