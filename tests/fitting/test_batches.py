"""The mixture of tasks: shares, passes, batches of like length, and its expectation."""

from collections import Counter

import numpy as np
import pytest
import torch

import modeconn as mc
from modeconn.fitting.batches import Mixture


@pytest.fixture
def made(ends_and_model, make_fit_task):
    """A mixture over tasks of 24 and 10 examples, and what it is made of."""
    _, model = ends_and_model("llama")
    tasks = [make_fit_task("first"), make_fit_task("second", count=10, shift=1)]
    encoded = [model.encode(task, "train", mc.EncodingSettings(all_choices=False)) for task in tasks]

    def make(weights=(1.0, 1.0), num_batches=100, batch_size=4, **options):
        sizes = {"num_batches": num_batches, "batch_size": batch_size, "seed": 0} | options
        return Mixture(model, encoded, weights, **sizes), model, encoded

    return make


def all_rows(mixture, num_batches=100):
    return [row for number in range(num_batches) for row in mixture.rows(number)]


@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 1.0), (0.0, 2.0), (5.0, 0.0)])
def test_the_shares_of_the_tasks_follow_their_weights(made, weights):
    rows = all_rows(made(weights)[0])
    found = np.bincount([task for task, _ in rows], minlength=2) / len(rows)
    np.testing.assert_allclose(found, np.array(weights) / sum(weights), atol=0.005)


def test_every_example_is_seen_once_a_pass(made):
    """24 and 10 examples in equal shares: after 240 of each, every one was seen 10 and 24 times."""
    mixture, _, encoded = made(num_batches=120)
    counts = Counter(all_rows(mixture, 120))
    for task, passes in ((0, 10), (1, 24)):
        seen = [counts[task, row] for row in range(encoded[task].num_examples)]
        assert max(seen) - min(seen) <= 1
        assert min(seen) >= passes - 1


def test_batches_hold_rows_of_like_length(made):
    mixture, _, encoded = made()
    lengths = {
        (task, row): len(one.context) + len(one.targets)
        for task, split in enumerate(encoded)
        for row, one in enumerate(split.rows.rows)
    }

    def waste(batches):
        widths = [[lengths[row] for row in batch] for batch in batches]
        return sum(max(one) * len(one) - sum(one) for one in widths) / sum(map(sum, widths))

    grouped = [mixture.rows(number) for number in range(100)]
    rows = all_rows(mixture)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).tolist()
    plain = [[rows[i] for i in order[start : start + 4]] for start in range(0, len(rows), 4)]
    assert waste(grouped) < 0.25 * waste(plain)


def test_the_order_depends_on_the_seed(made):
    assert all_rows(made()[0]) == all_rows(made()[0])
    assert all_rows(made()[0]) != all_rows(made(seed=1)[0])


def test_a_batch_does_not_depend_on_what_was_asked_before(made):
    mixture = made()[0]
    backwards = [mixture.rows(number) for number in reversed(range(100))][::-1]
    assert [row for batch in backwards for row in batch] == all_rows(made()[0])


def test_batches_that_are_accumulated_are_the_parts_of_a_larger_one(made):
    whole = made(num_batches=30, batch_size=8)[0]
    parts = made(num_batches=120, batch_size=2, batches_per_group=4)[0]
    assert all_rows(whole, 30) == all_rows(parts, 120)


def test_the_expected_loss_is_the_weighted_mean_of_the_tasks_losses_per_token(made):
    """One whole pass over both tasks against sums over their examples, one by one."""
    weights = (5.0, 2.5)  # 24 and 12 of 36: but the second task has 10, so the passes are 240 examples each
    mixture, model, encoded = made(weights, num_batches=90)
    point = torch.zeros(2)
    with torch.no_grad():
        for number in range(90):
            batch, divisors = mixture.collated(mixture.rows(number))
            for (task, _), value in zip(mixture.rows(number), model.batch_losses(batch) / divisors, strict=True):
                point[task] += value
    rows = np.bincount([task for task, _ in all_rows(mixture, 90)])
    np.testing.assert_allclose(rows, [240, 120], atol=1)
    for task, split in enumerate(encoded):
        sums = [float(model.batch_losses(model.collate([(split, row)])).detach()) for row in range(split.num_examples)]
        per_token = sum(sums) / sum(len(row.targets) for row in split.rows.rows)
        assert float(point[task]) / rows[task] == pytest.approx(per_token, rel=0.01)
