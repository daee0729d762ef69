"""CKA over minibatches: the written-out terms, the expectation, the intervals, and what does not fit."""

import numpy as np
import pytest
import torch
from direct_cka import direct_cka, hsic0, hsic1

from modeconn.errors import EvaluationError
from modeconn.similarity import CKAAccumulator


def sites(seed, n=400, widths=(5, 30)):
    """Features at two sites that share four directions with every other call."""
    shared = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
    own = torch.Generator().manual_seed(seed)
    return {f"site {w}": shared @ torch.randn(4, w, generator=own) + torch.randn(n, w, generator=own) for w in widths}


def part(features, rows):
    return {name: values[rows] for name, values in features.items()}


def accumulated(x, y, size, *, order=None, **options):
    found = CKAAccumulator(**options)
    order = torch.arange(len(next(iter(x.values())))) if order is None else order
    for rows in order.split(size):
        found.add(part(x, rows), part(y, rows))
    return found.result()


def gram(rows):
    rows = np.asarray(rows, dtype=np.float64)
    return rows @ rows.T


@pytest.mark.parametrize(("form", "hsic"), [("cka", hsic1), ("cka_biased", hsic0)])
def test_terms_are_averaged_and_divided_once(form, hsic):
    x, y = sites(1), sites(2, widths=(3, 7, 9))
    found = accumulated(x, y, 40)
    assert found.cka.shape == (2, 3)
    for i, first in enumerate(x.values()):
        for j, second in enumerate(y.values()):
            grams = [(gram(a), gram(b)) for a, b in zip(first.split(40), second.split(40), strict=True)]
            xy, xx, yy = (
                np.mean([hsic(*one) for one in pairs])
                for pairs in (grams, [(k, k) for k, _ in grams], [(k, k) for _, k in grams])
            )
            assert getattr(found, form)[i, j] == pytest.approx(xy / np.sqrt(xx * yy), abs=1e-10)
    assert (found.num_rows, found.num_minibatches) == (400, 10)


def test_one_minibatch_is_the_full_batch():
    x, y = sites(1), sites(2)
    found = accumulated(x, y, 400, max_rows=400)
    for i, first in enumerate(x.values()):
        for j, second in enumerate(y.values()):
            assert found.cka[i, j] == pytest.approx(direct_cka(first, second), abs=1e-9)
            assert found.cka_biased[i, j] == pytest.approx(direct_cka(first, second, debiased=False), abs=1e-9)


def test_minibatches_equal_the_full_batch_in_expectation():
    x, y = sites(1), sites(2)
    whole = accumulated(x, y, 400, max_rows=400)
    orders = [torch.randperm(400, generator=torch.Generator().manual_seed(seed)) for seed in range(20)]
    found = [accumulated(x, y, 8, order=order) for order in orders]
    values = np.array([one.cka for one in found])
    error = values.std(axis=0) / np.sqrt(len(values))
    assert (np.abs(values.mean(axis=0) - whole.cka) < 3 * error + 0.002).all()
    biased = np.array([one.cka_biased for one in found]).mean(axis=0)
    assert (biased > whole.cka_biased + 0.05).all()  # which the biased form is not


def test_matched_sites_are_the_diagonal():
    x, y = sites(1), sites(2)
    grid, matched = accumulated(x, y, 40), accumulated(x, y, 40, matched=True)
    for name in ("cka", "low", "high", "cka_biased"):
        assert getattr(matched, name) == pytest.approx(getattr(grid, name).diagonal(), abs=1e-12)


def test_many_rows_are_dealt_out_at_random_not_in_order():
    groups = torch.arange(120).div(40, rounding_mode="floor")[:, None].float()  # 3 groups, as texts sorted by length
    noise = [torch.randn(120, 3, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    x, y = ({"site": torch.cat([20 * groups, one], 1)} for one in noise)
    dealt = CKAAccumulator(max_rows=40)
    dealt.add(x, y)
    assert dealt.result().cka[0, 0] > 0.9  # between groups alike
    assert abs(accumulated(x, y, 40).cka[0, 0]) < 0.2  # within them not


def test_intervals_hold_the_true_value_as_often_as_they_say():
    x, y = sites(1, n=8_000), sites(2, n=8_000)
    truth = accumulated(x, y, 8_000, max_rows=1_000).cka
    hits = []
    for seed in range(100):
        rows = torch.randperm(8_000, generator=torch.Generator().manual_seed(seed))[:200]
        found = accumulated(part(x, rows), part(y, rows), 20)
        hits.append((found.low <= truth) & (truth <= found.high))
    assert (np.mean(hits, axis=0) >= 0.88).all()


def test_few_minibatches_give_no_interval():
    found = accumulated(sites(1), sites(2), 60)
    assert np.isnan(found.low).all()
    assert np.isfinite(found.cka).all()


def test_the_same_features_have_1_and_no_width():
    x = sites(1)
    found = accumulated(x, x, 20, matched=True)
    assert found.cka == pytest.approx(1, abs=1e-12)
    assert found.high - found.low == pytest.approx(0, abs=1e-6)


def test_a_site_that_does_not_vary_has_no_value():
    x = sites(1)
    found = accumulated(x | {"site 5": torch.ones(400, 5)}, sites(2), 40)
    assert np.isnan(found.cka[0]).all()
    assert np.isfinite(found.cka[1]).all()


def test_half_precision_is_summed_in_float64():
    x, y = sites(1), sites(2)
    narrow = [{name: rows.bfloat16() for name, rows in side.items()} for side in (x, y)]
    wide = [{name: rows.double() for name, rows in side.items()} for side in narrow]
    assert accumulated(*narrow, 40).cka == pytest.approx(accumulated(*wide, 40).cka, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (part(x, [0, 1, 2]), part(y, [0, 1, 2])), r"the same 4 examples or more .*\n  got: 3 rows"),
        (lambda x, y: (part(x, range(9)), part(y, range(8))), r"got: 8 and 9 rows"),
        (lambda *_: ({}, {}), "got: no rows"),
        (lambda x, y: (x, {"other": y["site 5"]}), "the sites of a minibatch do not fit"),
        (lambda x, y: (x, {n: r * (torch.inf if n == "site 30" else 1) for n, r in y.items()}), "reference at site 30"),
        (lambda x, y: ({n: (r * 1e6).half() for n, r in x.items()}, y), r"features at site 5 .*\n.*end at 65504"),
    ],
)
def test_a_minibatch_that_does_not_fit_is_refused_and_leaves_no_trace(change, message):
    x, y = sites(1), sites(2)
    found = CKAAccumulator(max_rows=400)
    found.add(x, y)
    before = found.result()
    with pytest.raises(EvaluationError, match=message):
        found.add(*change(x, y))
    assert found.result().cka.tobytes() == before.cka.tobytes()


def test_matched_sides_need_as_many_sites():
    with pytest.raises(EvaluationError, match="as many on both sides"):
        CKAAccumulator(matched=True).add(sites(1), sites(2, widths=(3,)))


def test_nothing_gives_nothing():
    with pytest.raises(EvaluationError, match="there is nothing to compare"):
        CKAAccumulator().result()
