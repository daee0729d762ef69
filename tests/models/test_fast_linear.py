"""Linear layers by oneDNN give torch's numbers, where they are used at all."""

import numpy as np
import pytest
import torch
from random_tasks import random_task
from tiny import LABELS
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

import modeconn as mc
from modeconn.models import fast_linear as module
from modeconn.models.fast_linear import fast_linear


@pytest.fixture
def calls(monkeypatch):
    """The products that oneDNN has made; all sizes are taken."""
    if not module._serves():
        pytest.skip("this build of torch has no oneDNN")
    made, plain = [], module._product
    monkeypatch.setattr(module, "_FEWEST", 1)
    monkeypatch.setattr(module, "_product", lambda *given: made.append(given) or plain(*given))
    return made


@pytest.mark.parametrize("layer", [nn.Linear(12, 7), nn.Linear(12, 7, bias=False), Conv1D(7, 12)])
@torch.inference_mode()
def test_a_layer_gives_the_numbers_of_torch(layer, calls):
    read = torch.randn(2, 5, 12)
    layer.weight.normal_()
    expected = layer(read)
    with fast_linear():
        found = layer(read)
    assert len(calls) == 1
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "t5"])
def test_every_family_has_the_losses_of_torch(family, adapters, calls, monkeypatch):
    point = mc.Adapter.from_pretrained(adapters(family, seed=1))
    model = mc.AdapterModel.from_pretrained(adapters=[point], labels=LABELS if family == "bert" else None)
    encoded = model.encode(random_task(labels=LABELS if family == "bert" else None))
    found = model.evaluate(point, [encoded])[0].loss_sum
    num_calls = len(calls)
    assert num_calls >= 2 * 4 * len(encoded.batches)  # two layers, four products each at least
    monkeypatch.setattr(module, "_serves", lambda: False)
    np.testing.assert_allclose(found, model.evaluate(point, [encoded])[0].loss_sum, rtol=1e-5, atol=1e-5)
    assert len(calls) == num_calls


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_are_left_to_torch(dtype, calls):
    layer = nn.Linear(12, 7, dtype=dtype)
    with torch.inference_mode(), fast_linear():
        layer(torch.randn(5, 12, dtype=dtype))
    assert not calls


def test_gradients_are_left_to_torch(calls):
    layer, read = nn.Linear(12, 7), torch.randn(5, 12, requires_grad=True)
    with fast_linear():
        layer(read).sum().backward()
    assert not calls
    torch.testing.assert_close(read.grad, layer.weight.sum(0).expand(5, 12))


def test_autocast_is_left_to_torch(calls):
    layer = nn.Linear(12, 7)
    with torch.inference_mode(), fast_linear(), torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(5, 12)).dtype == torch.bfloat16
    assert not calls


def test_small_products_and_other_calls_are_left_to_torch(calls, monkeypatch):
    monkeypatch.setattr(module, "_FEWEST", 5 * 12 * 7 + 1)
    layer, matrix = nn.Linear(12, 7), torch.randn(3, 3)
    with torch.inference_mode(), fast_linear():
        layer(torch.randn(5, 12))
        added = torch.addmm(matrix, matrix, matrix, alpha=2.0)
        functional.linear(torch.randn(200, 12), weight=layer.weight)
    assert not calls
    torch.testing.assert_close(added, matrix + 2 * matrix @ matrix)


def test_references_are_left_to_torch(adapters, calls):
    point = mc.Adapter.from_pretrained(adapters("llama", seed=1))
    model = mc.AdapterModel.from_pretrained(adapters=[point])
    encoded = model.encode(random_task())
    with model.reference(point) as reference:
        model.score_rows(reference, encoded)
    assert not calls


def test_without_the_private_function_torch_multiplies(monkeypatch):
    module._serves.cache_clear()
    monkeypatch.setattr(module, "_product", lambda *_: torch.ops.mkldnn.no_such_function)
    layer, read = nn.Linear(12, 7), torch.randn(5, 12)
    try:
        with torch.inference_mode(), fast_linear():
            torch.testing.assert_close(layer(read), functional.linear(read, layer.weight, layer.bias))
        assert not module._serves()
    finally:
        module._serves.cache_clear()


def test_a_function_with_other_numbers_is_not_used(monkeypatch):
    module._serves.cache_clear()
    monkeypatch.setattr(module, "_product", lambda read, weight, bias: 1.01 * functional.linear(read, weight, bias))
    try:
        assert not module._serves()
    finally:
        module._serves.cache_clear()
