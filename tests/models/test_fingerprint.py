"""A base's name by its weights: the same for the same, another for another."""

import pytest
import torch
from tiny import FAMILIES
from torch import nn
from transformers import AutoModel, AutoModelForSequenceClassification

from modeconn.adapters.full import FullModel
from modeconn.models.fingerprint import base_fingerprint, stored_fingerprint


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


def test_the_output_weights_of_a_language_model_count_where_they_are_its_own():
    plain, other = llama(), llama()
    assert not plain.config.tie_word_embeddings
    with torch.no_grad():
        other.lm_head.weight.copy_(plain.lm_head.weight.flip(0))
    assert base_fingerprint(other) != base_fingerprint(plain)


def test_tied_output_weights_count_once(tmp_path):
    tied = llama(tie_word_embeddings=True)
    state = {name: value.clone() for name, value in tied.state_dict().items()}
    assert "lm_head.weight" in state
    tied.save_pretrained(tmp_path / "base", state_dict=state)  # some checkpoints store the copy, too
    assert base_fingerprint(tied) == stored_fingerprint(FullModel.open(tmp_path / "base"))
