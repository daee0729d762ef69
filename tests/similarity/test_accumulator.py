"""CKA over minibatches: the written-out terms, the expectation, the intervals, and what does not fit."""

import numpy as np
import pytest
import torch
from direct_cka import direct_cka, hsic0, hsic1

from modeconn.errors import EvaluationError
from modeconn.similarity import CKAAccumulator
from modeconn.similarity.parts import dealt


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


def tokens(seed, lengths, width=64, own=0.3):
    """Rows that are mostly one vector of their example."""
    generator = torch.Generator().manual_seed(seed)
    shared = [torch.randn(1, width, generator=generator).expand(length, -1) for length in lengths]
    together = torch.cat(shared)
    return {"site": together + own * torch.randn(together.shape, generator=generator)}


def test_rows_of_one_example_are_not_taken_for_likeness():
    found, blind = CKAAccumulator(), CKAAccumulator()
    for number in range(30):
        lengths = torch.randint(5, 30, (16,), generator=torch.Generator().manual_seed(number)).tolist()
        x, y = tokens(2 * number, lengths), tokens(2 * number + 1, lengths)
        found.add(x, y, lengths=lengths)
        blind.add(x, y)
    assert abs(found.result().cka.item()) < 0.03
    assert found.result().low.item() < 0 < found.result().high.item()
    assert blind.result().cka.item() > 0.7  # the same rows as if each were an example
    assert found.result().num_together == 16


def test_every_row_has_its_turn_and_parts_hold_one_of_each_example():
    lengths = [3, 1, 7, 4]
    (parts,) = dealt(15, lengths, max_rows=256, generator=torch.Generator().manual_seed(0))
    assert parts.shape == (14, 4)
    assert sorted(set(parts.flatten().tolist())) == list(range(15))
    owners = torch.arange(4).repeat_interleave(torch.tensor(lengths))
    assert (owners[parts] == torch.arange(4)).all()
    for turn in parts[:, 2].split(7):
        assert sorted(turn.tolist()) == list(range(4, 11))


def test_parts_of_examples_are_averaged_and_divided_once():
    lengths = [5, 9, 9, 2, 6, 7, 5, 8]
    x, y = tokens(0, lengths), tokens(0, lengths, own=1.0)
    found = CKAAccumulator(seed=3)
    found.add(x, y, lengths=lengths)
    (parts,) = dealt(51, lengths, max_rows=256, generator=torch.Generator().manual_seed(3))
    grams = [(gram(x["site"][part]), gram(y["site"][part])) for part in parts]
    for form, hsic in (("cka", hsic1), ("cka_biased", hsic0)):
        xy, xx, yy = (np.mean([hsic(*pick(one)) for one in grams]) for pick in (
            lambda one: one, lambda one: (one[0], one[0]), lambda one: (one[1], one[1])
        ))  # fmt: skip
        assert getattr(found.result(), form).item() == pytest.approx(xy / np.sqrt(xx * yy), abs=1e-10)


def test_parts_are_no_larger_than_asked():
    lengths = [2] * 50
    parts = dealt(100, lengths, max_rows=20, generator=torch.Generator().manual_seed(0))
    assert {part.shape[1] for part in parts} == {16, 17}
    rows = torch.cat([part.flatten() for part in parts])
    assert (torch.bincount(rows, minlength=100) == 2).all()


@pytest.mark.parametrize("lengths", [[10, 10, 10, 9], [40, 1, -1, 0], [10, 10, 20]])
def test_lengths_that_do_not_fit_are_refused(lengths):
    x, y = part(sites(1), slice(40)), part(sites(2), slice(40))
    with pytest.raises(EvaluationError, match=r"(?s)lengths of 1 or more that add up to 40|40 rows of 3 examples"):
        CKAAccumulator().add(x, y, lengths=lengths)


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
