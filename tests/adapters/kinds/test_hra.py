"""HRA: reflections of the inputs, and what a file may hold."""

import pytest
import torch
from kind_points import Base, fails, kind_point, random

TENSORS = {"q.hra_u": random(6, 4)}
WEIGHT = random(5, 6, seed=1)
BASE = Base({"q.weight": WEIGHT})


@pytest.mark.parametrize("orthogonal", [False, True])
def test_reflections_keep_the_lengths_and_angles_of_rows(orthogonal):
    point = kind_point("HRA", TENSORS, r=4, apply_GS=orthogonal).on(BASE)
    moved = WEIGHT + point.updates["q.weight"].dense()
    torch.testing.assert_close(moved @ moved.T, WEIGHT @ WEIGHT.T, atol=1e-5, rtol=1e-5)
    assert (moved - WEIGHT).norm() > 0.1 * WEIGHT.norm()


def test_with_a_base_there_are_factors_of_rank_r():
    update = kind_point("HRA", TENSORS, r=4).on(BASE).updates["q.weight"]
    assert update.low_rank
    assert update.rank == 4
    assert int(torch.linalg.matrix_rank(update.dense())) == 4


def test_pairs_of_equal_vectors_change_nothing():
    pairs = {"q.hra_u": random(6, 2).repeat_interleave(2, dim=1)}
    assert kind_point("HRA", pairs, r=4).is_zero
    assert not kind_point("HRA", TENSORS, r=4).is_zero
    assert kind_point("HRA", pairs, r=4).on(BASE).updates["q.weight"].dense().abs().max() < 1e-5


@pytest.mark.parametrize("vectors", [random(6, 3), random(6), random(6, 4) * torch.tensor([1.0, 0.0, 1.0, 1.0])])
def test_vectors_that_do_not_fit(vectors):
    told = "hra_u [in, r] with r = 4, no column of zeros", f"hra_u {list(vectors.shape)}"
    fails("HRA", {"q.hra_u": vectors}, "the tensors of q in the adapter do not fit together", *told, r=4)


def test_an_unknown_setting():
    fails("HRA", TENSORS, "weight update is not known", "settings of HRA", "alpha=3", r=4, alpha=3)
