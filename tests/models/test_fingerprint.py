"""A base's name by its weights: the same for the same, another for another."""

import pytest
import torch
from tiny import FAMILIES
from torch import nn
from transformers import AutoModel, AutoModelForSequenceClassification

from modeconn.models.fingerprint import base_fingerprint


def llama(seed=0, **changes):
    torch.manual_seed(seed)
    return FAMILIES["llama"](**changes)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_dtype_does_not_count(dtype):
    assert base_fingerprint(llama().to(dtype)) == base_fingerprint(llama())


def test_other_weights_have_another_fingerprint():
    assert base_fingerprint(llama(seed=1)) != base_fingerprint(llama(seed=0))


def test_one_parameter_of_another_layer_counts():
    other = llama()
    other.model.layers[1].mlp.up_proj.weight.data.neg_()
    assert base_fingerprint(other) != base_fingerprint(llama())


def test_another_depth_has_another_fingerprint():
    assert base_fingerprint(llama(num_hidden_layers=1)) != base_fingerprint(llama(num_hidden_layers=2))


def test_shapes_count_where_the_values_do_not():
    zeros = nn.Linear(4, 2, bias=False), nn.Linear(2, 4, bias=False)
    for layer in zeros:
        nn.init.zeros_(layer.weight)
    assert base_fingerprint(zeros[0]) != base_fingerprint(zeros[1])


def test_the_head_does_not_count(bases):
    """A base has many heads: bare, of two classes, of three."""
    two = AutoModelForSequenceClassification.from_pretrained(
        bases("bert"), num_labels=2, ignore_mismatched_sizes=True, dtype=torch.float32
    )
    bare = AutoModel.from_pretrained(bases("bert"), dtype=torch.float32)
    assert base_fingerprint(two) == base_fingerprint(bare)


def test_the_name_is_a_sha256_in_hex():
    assert len(bytes.fromhex(base_fingerprint(nn.Linear(2, 2)))) == 32
