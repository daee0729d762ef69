"""LoHa and LoKr: what their files may hold, and what their settings do."""

import pytest
import torch
from kind_points import PREFIX, fails, kind_point, random

from modeconn.errors import PathError
from modeconn.paths import LinearPath

HADA = {
    "q.hada_w1_a": random(6, 2),
    "q.hada_w1_b": random(2, 5),
    "q.hada_w2_a": random(6, 2, seed=1),
    "q.hada_w2_b": random(2, 5, seed=1),
}
KRON = {"q.lokr_w1": random(2, 3), "q.lokr_w2": random(4, 5)}
PAIRS = {
    "q.lokr_w1_a": random(2, 1),
    "q.lokr_w1_b": random(1, 3),
    "q.lokr_w2_a": random(4, 1),
    "q.lokr_w2_b": random(1, 5),
}
MISFIT = "the tensors of q in the adapter do not fit together"


def without(tensors, *names):
    return {name: value for name, value in tensors.items() if name not in names}


def test_loha_is_the_scaled_product_of_two_products():
    w1_a, w1_b, w2_a, w2_b = HADA.values()
    found = kind_point("LOHA", HADA, r=2, alpha=3).updates["q.weight"].dense()
    torch.testing.assert_close(found, 1.5 * (w1_a @ w1_b) * (w2_a @ w2_b))


@pytest.mark.parametrize("tensors", [KRON, PAIRS])
def test_lokr_is_the_scaled_kronecker_product(tensors):
    left, right = (
        KRON.values()
        if tensors is KRON
        else (tensors[f"q.lokr_w{side}_a"] @ tensors[f"q.lokr_w{side}_b"] for side in (1, 2))
    )
    found = kind_point("LOKR", tensors, r=1, alpha=3).updates["q.weight"].dense()
    blocks = [torch.cat([3 * left[i, j] * right for j in range(3)], dim=1) for i in range(2)]
    torch.testing.assert_close(found, torch.cat(blocks))


def test_nothing_dense_is_made_at_loading():
    part = kind_point("LOHA", HADA, r=2).updates["q.weight"].parts[0]
    assert part.first.up.data_ptr() == HADA["q.hada_w1_a"].data_ptr()


@pytest.mark.parametrize(
    "settings", [{"alpha": 5}, {"alpha_pattern": {"q": 5}}, {"r": 1, "rank_pattern": {"q": 2}, "alpha": 5}]
)
def test_every_setting_of_the_scaling_counts(settings):
    plain = kind_point("LOHA", HADA, r=2)
    other = kind_point("LOHA", HADA, **({"r": 2} | settings))
    assert other.fingerprint != plain.fingerprint
    torch.testing.assert_close(other.updates["q.weight"].dense(), 5 / 8 * plain.updates["q.weight"].dense())


@pytest.mark.parametrize(("kind", "tensors"), [("LOHA", HADA), ("LOKR", PAIRS)])
def test_factors_of_different_scalings_are_not_averaged(kind, tensors):
    rank = 2 if kind == "LOHA" else 1
    ends = [kind_point(kind, tensors, r=rank, alpha=alpha) for alpha in (1, 2)]
    with pytest.raises(PathError, match=r"(?s)scale their factors differently.*different scalings in q"):
        LinearPath(*ends, space="factors")
    assert LinearPath(*ends)(0.5).updates["q.weight"].coefficients == (0.5, 0.5)


@pytest.mark.parametrize("name", HADA)
def test_a_missing_factor_of_loha(name):
    parts = ("lacks a tensor", f"expected: {PREFIX}{name}") if name != "q.hada_w1_a" else ("would not be used", "w1_b")
    fails("LOHA", without(HADA, name), *parts, r=2)


@pytest.mark.parametrize("name", PAIRS)
def test_a_missing_factor_of_lokr(name):
    needed = {"q.lokr_w1_a": "q.lokr_w1_b", "q.lokr_w2_a": f"expected: {PREFIX}q.lokr_w2\n"}.get(
        name, f"expected: {PREFIX}{name}"
    )
    fails("LOKR", without(PAIRS, name), needed, r=1)


def test_both_forms_of_one_side_of_lokr():
    fails("LOKR", KRON | PAIRS, "would not be used", "lokr_w1 and lokr_w2 of each module", f"{PREFIX}q.lokr_w1", r=1)


def test_the_effective_form_of_a_convolution():
    kernels = {"q.hada_t1": random(2, 2, 3, 3), "q.hada_t2": random(2, 2, 3, 3)}
    fails("LOHA", HADA | kernels, "would not be used", "hada_t1 and lokr_t2, are not supported", "q.hada_t1", r=2)


@pytest.mark.parametrize(
    ("kind", "tensors", "settings", "told"),
    [
        ("LOHA", HADA, {"r": 3}, ("[out, r] and [r, in] with r = 3", "hada_w1_a [6, 2], hada_w1_b [2, 5]")),
        ("LOHA", HADA, {"r": 2, "rank_pattern": {"q": 4}}, ("with r = 4", "hada_w1_a [6, 2]")),
        ("LOHA", HADA | {"q.hada_w2_a": random(7, 2)}, {"r": 2}, ("with r = 2", "hada_w2_a [7, 2]")),
        ("LOKR", PAIRS, {"r": 2}, ("lokr_w1_a [n, r] and lokr_w1_b [r, m] with r = 2", "lokr_w1_a [2, 1]")),
        (
            "LOKR",
            KRON | {"q.lokr_w2": random(4, 5, 3, 3)},
            {"r": 1},
            ("a matrix lokr_w2", "[4, 5, 3, 3]", "convolutions are not supported"),
        ),
    ],
)
def test_shapes_that_do_not_fit(kind, tensors, settings, told):
    fails(kind, tensors, MISFIT, *told, **settings)


@pytest.mark.parametrize("kind", ["LOHA", "LOKR"])
@pytest.mark.parametrize(
    ("key", "value"), [("r", 0), ("alpha", "8"), ("rank_pattern", {"q": 1.5}), ("alpha_pattern", {"(": 4})]
)
def test_a_setting_of_the_wrong_kind(kind, key, value):
    fails(kind, HADA, "settings that cannot be read", f"got: {key}={value!r}", **{key: value})


@pytest.mark.parametrize("kind", ["LOHA", "LOKR"])
def test_an_unknown_setting(kind):
    fails(
        kind,
        HADA,
        "weight update is not known",
        f"settings of {kind} that modeconn",
        "use_tucker=True",
        use_tucker=True,
    )
