"""Bytes of tensors are counted while they live."""

from itertools import accumulate
from typing import Any

import pytest
import torch
from random_tasks import random_task
from tiny import LABELS
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from modeconn.models.live_bytes import LiveBytes


def test_what_is_made_counts_until_it_is_gone():
    with LiveBytes() as counted:
        one = torch.zeros(100)  # 400 bytes
        two = one + 1
        assert counted.now == 800
        del one
        assert counted.now == 400
        del two
    assert (counted.now, counted.most) == (0, 800)


def test_views_and_changes_in_place_make_nothing():
    with LiveBytes() as counted:
        whole = torch.zeros(10, 10)
        row = whole.view(100)[3:].add_(1)
        assert counted.now == 400
        del whole
        assert counted.now == 400  # a view keeps it
        del row
        assert counted.now == 0


def test_what_was_there_before_does_not_count():
    before = torch.zeros(1000)
    with LiveBytes() as counted:
        before.t().add_(1)
    assert counted.most == 0


def test_the_peak_of_layers_is_that_of_what_lives_together():
    torch.manual_seed(0)
    up, down = torch.nn.Linear(8, 64), torch.nn.Linear(64, 8)
    read = torch.randn(32, 8)
    with torch.inference_mode(), LiveBytes() as counted:
        down(functional.relu(up(read)))
    assert counted.most == 4 * 2 * 32 * 64  # what leaves the first layer, before and after the activation


@pytest.mark.parametrize("family", ["llama", "bert", "t5"])
def test_the_peak_of_a_model_is_that_of_torchs_allocator(family, loaded):
    model, point = loaded(family, "float32")
    encoded = model.encode(random_task(labels=LABELS if family == "bert" else None))
    with model.at(point) as module:
        model.score_rows(module, encoded)
        with LiveBytes() as counted:
            model.score_rows(module, encoded)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
            model.score_rows(module, encoded)
    events: Any = recorded.profiler
    sizes = [event.nbytes() for event in events.kineto_results.events() if event.name() == "[memory]"]
    peak = max(accumulate(sizes))
    assert 0.95 * peak < counted.most <= 1.05 * peak
