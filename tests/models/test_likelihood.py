"""Likelihoods of logits in pieces are those of all logits together."""

import pytest
import torch
from torch.nn import functional

from modeconn.models import likelihood
from modeconn.models.likelihood import in_pieces, likelihoods, most_positions


@pytest.fixture
def case():
    torch.manual_seed(0)
    places = torch.tensor([[0, 1, 2], [0, 3, 4], [0, 0, 6]])
    return torch.randn(7, 5, dtype=torch.float64), places, torch.randint(5, places.shape)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_the_size_of_the_pieces_does_not_matter(size, case):
    logits, places, targets = case
    targets[0] = logits.argmax(-1)[places[0]]
    loss, right = likelihoods(logits.split(size), places, targets)
    expected = functional.cross_entropy(logits[places].flatten(0, 1), targets.flatten(), reduction="none")
    torch.testing.assert_close(loss, expected.view_as(loss))
    assert (right == (logits[places].argmax(-1) == targets)).all()
    assert right[0].all()


def test_classes_that_are_not_allowed_have_no_probability(case):
    logits, places, _ = case
    allowed, targets = torch.tensor([1, 3]), torch.ones_like(places)
    targets[0, 0] = 2
    loss, _ = likelihoods(logits.split(2), places, targets, allowed=allowed)
    expected = -logits[..., allowed].log_softmax(-1)[places][..., 0]
    assert loss[0, 0] == torch.inf
    torch.testing.assert_close(loss.flatten()[1:], expected.flatten()[1:])


def test_the_likeliest_choice_counts_and_the_loss_is_that_of_the_vocabulary(case):
    logits, places, targets = case
    choices = torch.tensor([4, 2])
    loss, right = likelihoods(logits.split(3), places, targets, choices=choices)
    torch.testing.assert_close(loss, likelihoods([logits], places, targets)[0])
    assert (right == (choices[logits[:, choices].argmax(-1)][places] == targets)).all()


def test_half_precision_is_summed_in_float32(case):
    logits, places, targets = case
    assert likelihoods([logits.bfloat16()], places, targets)[0].dtype == torch.float32
    assert likelihoods([logits], places, targets)[0].dtype == torch.float64


def test_a_number_that_is_not_finite_stays_in_its_position(case):
    logits, places, targets = case
    logits[4, 0] = torch.nan
    loss, _ = likelihoods(logits.split(2), places, targets)
    assert torch.isnan(loss).tolist() == [[False] * 3, [False, False, True], [False] * 3]


def test_a_piece_holds_a_bounded_number_of_logits(monkeypatch):
    monkeypatch.setattr(likelihood, "MOST_LOGITS", 10)
    assert [len(one) for one in in_pieces(torch.zeros(7, 4))] == [2, 2, 2, 1]
    assert most_positions(11) == 1
