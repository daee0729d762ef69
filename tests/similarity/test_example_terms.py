"""The full batch with every example left out once: against CKA computed anew."""

import numpy as np
import pytest
import torch
from direct_cka import direct_cka

from modeconn.similarity.example_terms import example_terms, scaled
from modeconn.similarity.uncertainty import effective_number, influence


def sides(n=30, widths=((4, 50), (6, 3, 70))):
    """Features of two models that share three directions, scales and means far apart."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((n, 3))

    def site(width, scale):
        return torch.tensor(scale * (shared @ rng.standard_normal((3, width)) + rng.standard_normal((n, width)) + 9))

    return [{str(width): site(width, 10.0 ** (i - 1)) for i, width in enumerate(side)} for side in widths]


@pytest.fixture(params=[1, 2**26])
def terms(request, monkeypatch):
    """All pairs, with blocks of one row and of all rows."""
    monkeypatch.setattr("modeconn.similarity.example_terms._BLOCK_BYTES", request.param)
    return example_terms(*map(scaled, sides()), matched=False)


def pairs():
    x, y = sides()
    return [(a.numpy(), b.numpy()) for a in x.values() for b in y.values()]


def test_all_pairs_equal_cka_one_by_one(terms):
    assert terms.cka.tolist() == pytest.approx([direct_cka(*pair) for pair in pairs()], abs=1e-10)
    assert terms.biased.tolist() == pytest.approx([direct_cka(*pair, debiased=False) for pair in pairs()], abs=1e-10)


def test_leaving_an_example_out_equals_computing_anew(terms):
    for number in (0, 13, 29):
        anew = [direct_cka(*(np.delete(one, number, axis=0) for one in pair)) for pair in pairs()]
        assert terms.cka_without[number].tolist() == pytest.approx(anew, abs=1e-10)


def test_matched_pairs_are_those_in_the_same_place(terms):
    x, y = sides()
    matched = example_terms(scaled(x), scaled({name: y[name] for name in ("6", "70")}), matched=True)
    assert matched.cka.tolist() == pytest.approx(terms.cka[[0, 5]].tolist(), abs=1e-12)
    assert matched.cka_without.numpy() == pytest.approx(terms.cka_without[:, [0, 5]].numpy(), abs=1e-12)
    assert matched.biased.tolist() == pytest.approx(terms.biased[[0, 5]].tolist(), abs=1e-12)


def test_a_site_that_does_not_vary_has_no_value():
    x, y = sides()
    found = example_terms(scaled(x | {"4": torch.full((30, 4), 0.1)}), scaled(y), matched=False)
    assert torch.isnan(found.cka[:3]).all()
    assert torch.isfinite(found.cka[3:]).all()
    assert influence(found)[1].tolist()[:3] == [-1] * 3


def test_float32_features_are_within_1e_4_of_float64():
    rng = np.random.default_rng(1)
    wide = [rng.standard_normal((64, 2000)) for _ in range(2)]
    for one in wide:
        one[:, 7] += 3000  # a large mean at one place, as language models have
    narrow = [scaled({"site": torch.tensor(one, dtype=torch.float32)}) for one in wide]
    centred = [one - one.mean(0) for one in wide]
    assert float(example_terms(*narrow, matched=True).cka) == pytest.approx(direct_cka(*centred), abs=1e-4)


def test_the_example_that_decides_is_named():
    x = torch.randn(200, 10, generator=torch.Generator().manual_seed(0))
    moved = x.clone()
    moved[17] += 100
    found = example_terms(scaled({"site": x}), scaled({"site": moved}), matched=True)
    change, example = influence(found)
    assert example.tolist() == [17]
    assert float(change) == pytest.approx(direct_cka(x, moved) - 1, abs=1e-8)


def test_two_outliers_that_hide_each_other_show_in_the_effective_number():
    rng = np.random.default_rng(0)
    x, y = (torch.tensor(rng.standard_normal((200, 10))) for _ in range(2))
    plain = example_terms(scaled({"site": x}), scaled({"site": y}), matched=True)
    assert 100 < float(effective_number(plain)) < 200
    for one in (x, y):
        one[:2] += 1000
    found = example_terms(scaled({"site": x}), scaled({"site": y}), matched=True)
    assert float(found.cka) > 0.9
    assert float(effective_number(found)) == pytest.approx(2, abs=0.1)


def test_four_examples_have_a_value_and_no_influence():
    x, y = (torch.randn(4, 2, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    found = example_terms(scaled({"site": x}), scaled({"site": y}), matched=True)
    assert torch.isnan(found.cka_without).all()
    assert influence(found)[1].tolist() == [-1]
