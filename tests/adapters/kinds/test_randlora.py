"""RandLoRA: shared random matrices, and what a file may hold."""

import pytest
import torch
from kind_points import Base, fails, kind_point, random

from modeconn.errors import AdapterError, PathError
from modeconn.paths import LinearPath

A, B = "base_model.randlora_A", "base_model.randlora_B"
TENSORS = {
    A: random(2, 1, 5),
    B: random(7, 3, 2, seed=1),
    "q.randlora_lambda": random(2, 3, seed=2),
    "q.randlora_gamma": random(3, 5, seed=3),
}
SETTINGS = {"r": 2, "randlora_alpha": 6}


@pytest.mark.parametrize("turned", [False, True])
def test_the_update_is_a_product_of_scaled_matrices(turned):
    """Rows (r, n) of the one meet columns (n, r) of the other, as PEFT has it."""
    base = Base({"q.weight": random(5, 7) if turned else random(7, 5)})
    found = kind_point("RANDLORA", TENSORS, **SETTINGS).on(base).updates["q.weight"].dense()
    rows = [
        TENSORS["q.randlora_lambda"][r, n] * TENSORS[A][r, 0] * TENSORS["q.randlora_gamma"][n]
        for r in range(2)
        for n in range(3)
    ]
    columns = [TENSORS[B][:, n, r] for n in range(3) for r in range(2)]
    expected = 3 * sum(torch.outer(column, row) for column, row in zip(columns, rows, strict=True))
    torch.testing.assert_close(found, expected.T if turned else expected)


def test_copies_beside_the_modules_must_be_equal():
    copies = {"q.randlora_A": TENSORS[A], "q.randlora_B": TENSORS[B]}
    plain, copied = (kind_point("RANDLORA", tensors, **SETTINGS) for tensors in (TENSORS, TENSORS | copies))
    assert plain.fingerprint == copied.fingerprint
    other = copies | {"q.randlora_B": TENSORS[B] + 1}
    fails("RANDLORA", TENSORS | other, "would not be used", "base_model.model.q.randlora_B", **SETTINGS)


def test_what_is_drawn_needs_the_base():
    tensors = {name: value for name, value in TENSORS.items() if name.startswith("q.")}
    point = kind_point("RANDLORA", tensors, save_projection=False, **SETTINGS)
    with pytest.raises(AdapterError, match="a function of the base model's weights"):
        point.updates["q.weight"].dense()
    assert point.on(Base({"q.weight": random(7, 5)})).updates["q.weight"].dense().shape == (7, 5)


@pytest.mark.parametrize("setting", [{"projection_prng_key": 1}, {"sparse": True}, {"randlora_alpha": 7}])
def test_seed_sparsity_and_scaling_count(setting):
    tensors = {name: value for name, value in TENSORS.items() if name.startswith("q.")}
    settings = {**SETTINGS, "save_projection": False}
    ends = [kind_point("RANDLORA", tensors, **settings), kind_point("RANDLORA", tensors, **{**settings, **setting})]
    assert ends[0].fingerprint != ends[1].fingerprint
    with pytest.raises(PathError, match="scale their factors differently"):
        LinearPath(*ends, space="factors")


def test_a_shared_matrix_that_is_missing():
    rest = {name: value for name, value in TENSORS.items() if name != A}
    fails("RANDLORA", rest, "lacks the random matrix", f"{A} of rank 2", "no such tensor", **SETTINGS)


@pytest.mark.parametrize("changed", [{"q.randlora_lambda": random(3, 3)}, {"q.randlora_gamma": random(4, 5)}])
def test_shapes_that_do_not_fit(changed):
    ((name, value),) = changed.items()
    told = "n = m / r, rounded up", f"{name.removeprefix('q.')} {list(value.shape)}"
    fails("RANDLORA", TENSORS | changed, "the tensors of q in the adapter do not fit together", *told, **SETTINGS)


@pytest.mark.parametrize("weight", [(7, 4), (9, 5)])
def test_a_base_that_does_not_fit(weight):
    told = (
        rf"(?s)does not fit the base model.*smaller side of 5 and a larger of at most 7.*\[{weight[0]}, {weight[1]}\]"
    )
    with pytest.raises(AdapterError, match=told):
        kind_point("RANDLORA", TENSORS, **SETTINGS).on(Base({"q.weight": random(*weight)}))
