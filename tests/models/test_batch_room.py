"""Batches keep to a limit of the memory, and sizes that were too large are not tried again."""

import numpy as np
import pytest
import torch
from random_tasks import random_task
from tiny import LABELS

import modeconn as mc
from modeconn.models.batch_room import BatchMemory, Learned, Room
from modeconn.models.halving import in_halves
from modeconn.models.live_bytes import LiveBytes
from modeconn.models.memory_limits import device_limits, memory_bytes

FAMILIES = ["llama", "gpt2", "bert", "t5"]


def loaded(family, adapters, **settings):
    point = mc.Adapter.from_pretrained(adapters(family, seed=1))
    labels = LABELS if family == "bert" else None
    return mc.AdapterModel.from_pretrained(adapters=[point], labels=labels, **settings), point


def task_for(family, **changes):
    return random_task(labels=LABELS if family == "bert" else None, num_examples=60, **changes)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_and_batches_stay_below_the_limit(family, adapters):
    free, point = loaded(family, adapters)
    encoded = free.encode(task_for(family))
    with LiveBytes() as counted:
        expected = free.evaluate(point, [encoded])[0]
    limit = 2 * sum(one.nbytes for one in free.module.parameters()) + counted.most // 2
    model, _ = loaded(family, adapters, max_memory=f"{limit / 1e6}MB")
    before = sum(one.nbytes for one in free.module.parameters())
    with LiveBytes() as counted:  # what is folded in counts, too
        found = model.evaluate(point, [encoded])[0]
    assert before + counted.most <= limit
    np.testing.assert_allclose(found.loss_sum, expected.loss_sum, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found.score, expected.score)


def test_a_limit_that_is_not_reached_changes_nothing(adapters):
    sums = [
        model.evaluate(point, [model.encode(task_for("llama"))])[0].loss_sum
        for model, point in (loaded("llama", adapters), loaded("llama", adapters, max_memory=1))
    ]
    np.testing.assert_array_equal(*sums)


def read_sizes(model, point, encoded):
    sizes = []
    hook = model.module.model.register_forward_pre_hook(
        lambda _module, _args, kwargs: sizes.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    model.evaluate(point, [encoded])
    hook.remove()
    return sizes


def test_batches_are_the_same_at_every_point(adapters):
    model, point = loaded("llama", adapters, max_memory="60KB")
    encoded, other = model.encode(task_for("llama")), mc.Adapter.from_pretrained(adapters("llama", seed=2))
    first, *later = (read_sizes(model, one, encoded) for one in (point, other, point))
    assert len(first) > 3 * len(encoded.batches)
    assert later == [first[2:]] * 2  # the first point has tried a row before, in two calls: one is the head's


def test_a_row_above_the_limit_is_refused_with_its_length(adapters, state):
    model, point = loaded("llama", adapters, max_memory="30KB")
    encoded = model.encode(task_for("llama"))
    longest = max(model.family.length(row) for row in encoded.rows.rows)
    before = state(model.module)
    pattern = rf"(?s)a row of {longest} tokens does not fit into max_memory.*0\.0286 MiB for weights.*below {longest}"
    with pytest.raises(mc.ModelError, match=pattern):
        model.evaluate(point, [encoded])
    assert state(model.module) == before


def test_a_base_above_the_limit_is_refused_before_anything_is_read(adapters):
    pattern = r"(?s)base model does not fit into max_memory.*0\.023 MiB of its weights.*--device-map auto"
    with pytest.raises(mc.ModelError, match=pattern):
        loaded("llama", adapters, max_memory="20KB")


@pytest.mark.parametrize("limit", ["much", "12 apples", 0, -3, float("nan"), [1], ""])
def test_what_is_no_amount_of_memory_is_refused(limit):
    with pytest.raises(mc.ModelError, match=r"(?s)no amount of memory.*12GiB or 500MB"):
        memory_bytes(limit)


@pytest.mark.parametrize(
    ("limit", "size"), [(1, 2**30), (0.5, 2**29), ("2", 2**31), ("3GiB", 3 * 2**30), ("3 GB", 3 * 10**9)]
)
def test_amounts_are_read_with_their_unit(limit, size):
    assert memory_bytes(limit) == size


def test_one_base_takes_one_limit(adapters):
    with pytest.raises(mc.ModelError, match=r"(?s)names devices, but the base is on one.*one amount"):
        loaded("llama", adapters, max_memory={"cpu": 3})


def test_limits_of_devices_that_are_not_there_are_refused():
    with pytest.raises(mc.ModelError, match=r"(?s)given for 99, which is no device here.*by their numbers"):
        device_limits({99: "1GiB"})


def test_each_device_may_have_a_limit_of_its_own():
    assert device_limits('{"cpu": "500MB"}') == {"cpu": 500_000_000}


def test_sizes_that_failed_are_not_tried_again():
    learned, tried = Learned(), []

    def run(rows):
        tried.append(len(rows))
        if len(rows) > 2:
            raise MemoryError
        return list(rows)

    for _ in range(2):
        found = in_halves(run, range(8), length=lambda _: 10, room=Room(learned))
        assert [row for part in found for row in part] == list(range(8))
    assert tried == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2]
    assert learned.most == 39


def test_a_single_row_is_tried_even_if_it_failed_before():
    room = Room(Learned(most=5))
    assert in_halves(sum, [1], length=lambda _: 10, room=room) == [1]


class Small:
    """A forward hook with a memory for some tokens only."""

    def __init__(self, most):
        self.most, self.num_failed = most, 0

    def __call__(self, _module, _args, kwargs):
        if kwargs["input_ids"].numel() > self.most:
            self.num_failed += 1
            raise torch.OutOfMemoryError("CUDA out of memory")


def test_later_points_do_not_run_out_of_memory_again(adapters):
    model, point = loaded("llama", adapters)
    encoded = model.encode(task_for("llama", seed=3))
    small = Small(2 * max(model.family.length(row) for row in encoded.rows.rows))
    hook = model.module.model.register_forward_pre_hook(small, with_kwargs=True)
    first = model.evaluate(point, [encoded])[0].loss_sum
    failed = small.num_failed
    assert failed > 0
    second = model.evaluate(point, [encoded])[0].loss_sum
    hook.remove()
    assert small.num_failed == failed
    np.testing.assert_array_equal(first, second)


def test_models_do_not_share_what_they_learn():
    one, other = BatchMemory(), BatchMemory()
    one.scoring.refused(100)
    assert other.scoring.takes(100)
    assert one.writing.takes(100)
    assert not one.scoring.takes(100)
