"""VB-LoRA: mixtures of the vectors of a bank, and what a file may hold."""

import pytest
import torch
from kind_points import fails, kind_point, random

from modeconn.errors import AdapterError
from modeconn.paths import LinearPath

BANK = "base_model.vblora_vector_bank"
DOWN, UP = "q.vblora_logits_A", "q.vblora_logits_B"
TENSORS = {BANK: random(5, 3), DOWN: random(2, 4, 5, seed=1), UP: random(3, 2, 5, seed=2)}
TOP = {BANK: TENSORS[BANK]} | {
    f"{name}_{what}": value
    for name in (DOWN, UP)
    for what, value in (
        ("topk_indices", TENSORS[name].topk(2).indices.to(torch.uint8)),
        ("topk_weights", TENSORS[name].topk(2).values.softmax(-1)[..., :-1]),
    )
}


def by_hand(logits):
    """The pieces of a factor, one at a time."""
    pieces = torch.zeros(*logits.shape[:2], 3)
    for row in range(logits.shape[0]):
        for column in range(logits.shape[1]):
            one = logits[row, column]
            best = sorted(range(5), key=lambda place: -float(one[place]))[:2]
            weights = torch.softmax(one[best], 0)
            pieces[row, column] = sum(w * TENSORS[BANK][place] for w, place in zip(weights, best, strict=True))
    return pieces


@pytest.mark.parametrize(("tensors", "only_top"), [(TENSORS, False), (TOP, True)])
def test_the_factors_are_made_of_the_bank(tensors, only_top):
    update = kind_point("VBLORA", tensors, r=2, save_only_topk_weights=only_top).updates["q.weight"]
    down = by_hand(TENSORS[DOWN]).reshape(2, 12)
    up = by_hand(TENSORS[UP]).permute(0, 2, 1).reshape(9, 2)
    torch.testing.assert_close(update.dense(), up @ down)
    assert (update.rank, update.shape) == (2, (9, 12))


def test_places_in_the_bank_are_no_coordinates():
    other = TOP | {f"{DOWN}_topk_indices": TOP[f"{DOWN}_topk_indices"].flip(-1)}
    ends = [kind_point("VBLORA", tensors, r=2, save_only_topk_weights=True) for tensors in (TOP, other)]
    with pytest.raises(AdapterError, match=r"(?s)different layouts.*logits_A_topk_indices, with other numbers"):
        LinearPath(*ends, space="factors")
    assert LinearPath(*ends)(0.5).updates["q.weight"].rank == 4


@pytest.mark.parametrize("bank", [None, random(5), random(1, 3)])
def test_a_bank_that_is_missing_or_too_small(bank):
    rest = {name: value for name, value in TENSORS.items() if name != BANK}
    tensors = rest if bank is None else rest | {BANK: bank}
    got = "no such tensor" if bank is None else f"one of shape {list(bank.shape)}"
    fails("VBLORA", tensors, "lacks the vectors that its factors are made of", "h at least 2", got, r=2)


@pytest.mark.parametrize(
    "changed", [{DOWN: random(3, 4, 5)}, {UP: random(3, 3, 5)}, {DOWN: random(2, 4, 6)}, {UP: random(3, 10)}]
)
def test_shapes_that_do_not_fit(changed):
    ((name, value),) = changed.items()
    told = "with r = 2 and h = 5", f"{name.removeprefix('q.')} {list(value.shape)}"
    fails("VBLORA", TENSORS | changed, "the tensors of q in the adapter do not fit", *told, r=2)


@pytest.mark.parametrize(
    "changed",
    [
        {f"{DOWN}_topk_indices": TOP[f"{DOWN}_topk_indices"] + 5},
        {f"{DOWN}_topk_weights": random(2, 4, 2)},
        {f"{UP}_topk_indices": TOP[f"{UP}_topk_indices"][..., :1]},
    ],
)
def test_places_that_do_not_fit(changed):
    settings = {"r": 2, "save_only_topk_weights": True}
    fails("VBLORA", TOP | changed, "do not fit together", "below 5", "with k = 2", **settings)


def test_a_setting_of_the_wrong_kind():
    fails("VBLORA", TENSORS, "settings that cannot be read", "topk=0", r=2, topk=0)
