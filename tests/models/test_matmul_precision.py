"""Products in bfloat16: what is rounded, by how much, and what is not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from random_tasks import random_task
from tiny import LABELS
from torch import nn
from transformers.pytorch_utils import Conv1D

import modeconn as mc
from modeconn.errors import ModelError
from modeconn.models import fast_linear
from modeconn.models.matmul_precision import exact_products, products, rounding_of


@pytest.fixture
def all_sizes(monkeypatch):
    monkeypatch.setattr(fast_linear, "_FEWEST", 1)


@pytest.fixture
def model(adapters, all_sizes):  # noqa: ARG001
    point = mc.Adapter.from_pretrained(adapters("llama", seed=1))
    return mc.AdapterModel.from_pretrained(adapters=[point], matmul_precision="bfloat16"), point


@pytest.mark.parametrize("layer", [nn.Linear(12, 7), nn.Linear(12, 7, bias=False), Conv1D(7, 12)])
@torch.inference_mode()
def test_a_layer_multiplies_rounded_factors_and_adds_its_bias_unrounded(layer, model):
    read = torch.randn(2, 5, 12)
    layer.weight.normal_()
    weight = layer.weight.T if isinstance(layer, Conv1D) else layer.weight
    expected = (read.bfloat16().double() @ weight.bfloat16().double().T).bfloat16().double()
    expected = expected if layer.bias is None else expected + layer.bias.double()
    with products(model[0], layer):
        found = layer(read)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=2**-7, atol=1e-3)
    assert not torch.allclose(found, layer(read), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("all_sizes")
@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "t5"])
def test_every_family_moves_about_as_under_autocast_and_is_exact_again(family, adapters):
    point = mc.Adapter.from_pretrained(adapters(family, seed=1))
    labels = LABELS if family == "bert" else None
    exact = mc.AdapterModel.from_pretrained(adapters=[point], labels=labels)
    rounded = replace(exact, matmul_precision="bfloat16")
    encoded = exact.encode(random_task(labels=labels))
    before, found, after = (one.evaluate(point, [encoded])[0].loss_sum for one in (exact, rounded, exact))
    with torch.autocast("cpu", torch.bfloat16):
        blanket = exact.evaluate(point, [encoded])[0].loss_sum
    ours, theirs = (float(np.sqrt(np.mean((one - before) ** 2))) for one in (found, blanket))
    assert 1e-7 < ours < 1.5 * theirs  # a random T5 magnifies any rounding
    np.testing.assert_array_equal(before, after)


@torch.inference_mode()
def test_the_head_is_not_rounded(model):
    head = model[0].module.lm_head
    read = torch.randn(3, head.in_features)
    with products(model[0], model[0].module):
        torch.testing.assert_close(head(read), read @ head.weight.T, rtol=1e-6, atol=1e-6)


def test_small_products_and_other_dtypes_are_left_alone(adapters):
    model = mc.AdapterModel.from_pretrained(adapters=[mc.Adapter.from_pretrained(adapters("llama", seed=1))])
    model = replace(model, matmul_precision="bfloat16")
    small, double = nn.Linear(12, 7), nn.Linear(2048, 1024, dtype=torch.float64)
    with torch.inference_mode(), products(model, small):
        for layer, dtype in ((small, torch.float32), (double, torch.float64)):
            read = torch.randn(5, layer.in_features, dtype=dtype)
            found = layer(read)
            torch.testing.assert_close(found, read @ layer.weight.T + layer.bias, rtol=1e-5, atol=1e-5)


def test_tf32_is_torchs_own_setting_for_a_while(model):
    before = torch.get_float32_matmul_precision()
    with pytest.raises(RuntimeError, match="stop"), products(replace(model[0], matmul_precision="tf32"), nn.Module()):  # noqa: PT012
        assert torch.get_float32_matmul_precision() == "high"
        raise RuntimeError("stop")
    assert torch.get_float32_matmul_precision() == before == "highest"


def test_the_ends_are_checked_in_float32(model):
    rounded, point = model
    line = mc.LinearPath(point, point)
    profile = mc.evaluate_path(line, rounded, [random_task()], num_points=3)
    agree = max(profile.checks[line.name]["ends_agree_with_peft_within"].values())
    assert agree < 1e-5
    assert profile.products is not None
    assert profile.products["example_moved"].max() > 1e-6
    assert exact_products(rounded).matmul_precision == "float32"
    assert rounding_of(rounded) == torch.finfo(torch.bfloat16).eps


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"matmul_precision": "bf16"}, "unknown precision of matrix products: 'bf16'"),
        ({"matmul_precision": "bfloat16", "dtype": "bfloat16"}, "made of float32 weights"),
        ({"matmul_precision": "tf32"}, "tf32 is a format of CUDA devices"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_loaded(given, message):
    with pytest.raises(ModelError, match=message):
        mc.AdapterModel.from_pretrained("no-such-folder", **given)
