"""GraLoRA: low-rank blocks, and what a file may hold."""

import pytest
import torch
from kind_points import fails, kind_point, random

TENSORS = {"q.gralora_A": random(2, 3, 4), "q.gralora_B": random(2, 4, 5, seed=1)}
GENERAL = {"q.gralora_A_general.weight": random(1, 6), "q.gralora_B_general.weight": random(10, 1, seed=2)}
SETTINGS = {"r": 4, "gralora_k": 2, "alpha": 6}


def test_each_block_has_factors_of_its_own():
    found = kind_point("GRALORA", TENSORS, **SETTINGS).updates["q.weight"]
    dense = found.dense()
    for m in range(2):
        for n in range(2):
            down = TENSORS["q.gralora_A"][n, :, 2 * m : 2 * m + 2]  # [in / k, r / k]
            up = TENSORS["q.gralora_B"][m, 2 * n : 2 * n + 2]  # [r / k, out / k]
            torch.testing.assert_close(dense[5 * m : 5 * m + 5, 3 * n : 3 * n + 3], 1.5 * (down @ up).T)
    assert found.rank == 8


def test_the_general_factors_are_added():
    plain, both = (
        kind_point("GRALORA", TENSORS | beside, **SETTINGS, **more).updates["q.weight"].dense()
        for beside, more in (({}, {}), (GENERAL, {"hybrid_r": 1}))
    )
    product = GENERAL["q.gralora_B_general.weight"] @ GENERAL["q.gralora_A_general.weight"]
    torch.testing.assert_close(both / 6 * 5, plain / 6 * 4 + product)


@pytest.mark.parametrize(
    ("changed", "settings"),
    [
        ({"q.gralora_A": random(3, 3, 4)}, {}),
        ({"q.gralora_B": random(2, 3, 5)}, {}),
        ({"q.gralora_A": random(2, 12)}, {}),
        (GENERAL | {"q.gralora_A_general.weight": random(1, 5)}, {"hybrid_r": 1}),
    ],
)
def test_shapes_that_do_not_fit(changed, settings):
    told = "with k = 2, which divides r = 4"
    fails("GRALORA", TENSORS | changed, "the tensors of q in the adapter do not fit", told, **SETTINGS, **settings)


def test_general_factors_that_the_settings_do_not_name():
    fails("GRALORA", TENSORS | GENERAL, "would not be used", "q.gralora_A_general.weight", **SETTINGS)
