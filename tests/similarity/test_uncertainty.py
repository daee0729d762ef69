"""Intervals that cover, and what chance gives."""

import numpy as np
import pytest
import torch
from direct_cka import direct_cka

from modeconn.errors import EvaluationError
from modeconn.similarity.example_terms import example_terms, scaled
from modeconn.similarity.uncertainty import bootstrap_interval, permutation_null


def drawn(n, seed, *, own=1.0, widths=(20, 30)):
    """Features of `n` examples that share three directions; the maps are always the same."""
    maps, rng = np.random.default_rng(0), np.random.default_rng(seed)
    shared = rng.standard_normal((n, 3))
    return [torch.tensor(shared @ maps.standard_normal((3, w)) + own * rng.standard_normal((n, w))) for w in widths]


def terms(x, y):
    return example_terms(scaled({"site": x}), scaled({"site": y}), matched=True)


@pytest.mark.parametrize("own", [0.3, 3.0])
def test_intervals_hold_the_true_value_as_often_as_they_say(own):
    truth = float(terms(*drawn(4000, 99, own=own)).cka)
    sides = [bootstrap_interval(terms(*drawn(80, seed, own=own)), num_resamples=400) for seed in range(200)]
    assert 0.89 <= np.mean([float(low) <= truth <= float(high) for low, high in sides]) <= 0.99


def test_the_middle_of_the_interval_is_not_biased():
    # Resampling the examples themselves would repeat some, and report unrelated features as alike.
    x, y = drawn(60, 1, own=1.0, widths=(500, 500))[0], torch.randn(60, 500, generator=torch.Generator().manual_seed(0))
    found = terms(x, y)
    low, high = bootstrap_interval(found)
    assert float(low) < float(found.cka) < float(high)
    assert float(low + high) / 2 == pytest.approx(float(found.cka), abs=0.03)
    again = np.random.default_rng(0).integers(60, size=(20, 60))
    assert np.mean([direct_cka(x[rows], y[rows]) for rows in again]) > float(high)


@pytest.mark.parametrize("matched", [True, False])
def test_an_interval_is_that_of_the_resamples_that_have_a_value(matched):
    rare = torch.zeros(40, 3)
    rare[4, 0], rare[9, 1] = 1.0, 2.0  # a resample without these two has no value
    x, y = ({"plain": one, "rare": rare} for one in drawn(40, 1))
    found = example_terms(scaled(x), scaled(y), matched=matched)
    counts = np.random.default_rng(7).multinomial(40, np.full(40, 1 / 40), size=200) / 40
    means = {
        name: counts @ (40 * getattr(found, name) - 39 * getattr(found, f"{name}_without")).numpy()
        for name in ("xy", "xx", "yy")
    }
    own, other = means["xx"][:, found.first], means["yy"][:, found.second]
    defined = (own > 0) & (other > 0)
    values = np.where(defined, means["xy"] / np.sqrt(np.where(defined, own * other, 1.0)), np.nan).clip(-1, 1)
    assert np.isnan(values).any(axis=0).tolist() == ([False, True] if matched else [False, True, True, True])
    low, high = bootstrap_interval(found, num_resamples=200, level=0.9, seed=7)
    np.testing.assert_allclose(torch.stack([low, high]), np.nanquantile(values, [0.05, 0.95], axis=0), atol=1e-12)


def test_the_same_features_have_1_and_no_width():
    x, _ = drawn(40, 1)
    low, high = bootstrap_interval(terms(x, x))
    assert (float(low), float(high)) == pytest.approx((1, 1), abs=1e-9)


def test_the_same_seed_gives_the_same_interval():
    found = terms(*drawn(40, 1))
    assert bootstrap_interval(found, seed=3) == bootstrap_interval(found, seed=3)
    assert bootstrap_interval(found, seed=3) != bootstrap_interval(found, seed=4)


@pytest.mark.parametrize(("n", "num_resamples"), [(7, 100), (40, 0)])
def test_no_interval_where_there_is_none(n, num_resamples):
    low, high = bootstrap_interval(terms(*drawn(n, 1)), num_resamples=num_resamples)
    assert torch.isnan(low).all()
    assert torch.isnan(high).all()


def test_shuffled_examples_give_the_cka_of_shuffled_examples():
    x, y = drawn(40, 1)
    found = permutation_null(scaled({"a": x}), scaled({"a": y}), matched=False, num_permutations=3, seed=5)
    generator = torch.Generator().manual_seed(5)
    for value in found[:, 0].tolist():
        order = torch.randperm(40, generator=generator)
        assert value == pytest.approx(direct_cka(x, y[order]), abs=1e-5)


def test_the_null_of_all_pairs_holds_that_of_matched_ones():
    x, y = ({str(i): one for i, one in enumerate(drawn(40, seed))} for seed in (1, 2))
    grid = permutation_null(scaled(x), scaled(y), matched=False, num_permutations=4)
    matched = permutation_null(scaled(x), scaled(y), matched=True, num_permutations=4)
    assert grid.shape == (4, 4)
    assert matched.numpy() == pytest.approx(grid[:, [0, 3]].numpy(), abs=1e-6)


def test_a_null_that_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr("modeconn.similarity.uncertainty._MOST_BYTES", 1000)
    x, y = drawn(40, 1)
    with pytest.raises(EvaluationError, match=r"does not fit into memory[\s\S]*for 40 examples at 1 and 1 sites"):
        permutation_null(scaled({"a": x}), scaled({"a": y}), matched=True, num_permutations=1)
