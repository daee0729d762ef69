"""An adapter that PEFT saved is read as what PEFT makes of it, and written back bit for bit."""

import json

import pytest
import torch
from peft_oracle import heads, load_base, load_peft, logits, updates
from safetensors.torch import load_file

from modeconn.adapters import Adapter

pytestmark = pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")

CASES = {
    "llama": ("llama", {}),
    "llama-embedding-and-output": ("llama", {"target_modules": ["embed_tokens", "lm_head", "q_proj"]}),
    "llama-saved-output": ("llama", {"modules_to_save": ["lm_head"]}),
    "llama-rslora": ("llama", {"r": 5, "use_rslora": True}),
    "llama-patterns": (
        "llama",
        {"rank_pattern": {"v_proj": 2, "layers.1.self_attn.q_proj": 3}, "alpha_pattern": {"layers.0.*": 5}},
    ),
    "llama-one-layer": ("llama", {"layers_to_transform": [1]}),
    "gpt2-conv1d": ("gpt2", {}),
    "bert-head": ("bert", {}),  # PEFT saves the classifier of a SEQ_CLS model by itself
    "bert-embedding": ("bert", {"target_modules": ["word_embeddings", "query"]}),
    "t5": ("t5", {}),
}


@pytest.fixture(params=CASES, scope="module")
def case(request, bases):
    family, settings = CASES[request.param]
    return family, bases(family), settings


def test_logits_are_bit_equal_after_saving(case, adapters, tmp_path):
    family, base, settings = case
    source = adapters(family, 1, **settings)
    saved = Adapter.from_pretrained(source).save_pretrained(tmp_path / "saved")
    original = logits(load_peft(family, base, source, torch.float32))
    assert torch.equal(logits(load_peft(family, base, saved, torch.float32)), original)
    assert not torch.allclose(logits(load_base(family, base, torch.float32)), original, atol=1e-2)


def test_files_hold_the_same_after_saving(case, adapters, tmp_path):
    family, _, settings = case
    source = adapters(family, 1, **settings)
    saved = Adapter.from_pretrained(source).save_pretrained(tmp_path / "saved")
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (source, saved))
    assert sorted(after) == sorted(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    configs = [json.loads((folder / "adapter_config.json").read_text()) for folder in (source, saved)]
    assert configs[0] == configs[1]


def test_updates_are_those_of_peft(case, adapters):
    family, base, settings = case
    source = adapters(family, 1, **settings)
    reference = load_peft(family, base, source)
    point = Adapter.from_pretrained(source)
    expected = updates(reference)
    assert sorted(point.updates) == sorted(expected)
    for name, update in point.updates.items():
        mine = update.dense().double()
        torch.testing.assert_close(mine.T if family == "gpt2" else mine, expected[name], rtol=1e-5, atol=1e-6)


def test_saved_modules_are_those_of_peft(case, adapters):
    family, base, settings = case
    source = adapters(family, 1, **settings)
    expected = heads(load_peft(family, base, source, torch.float32))
    saved = Adapter.from_pretrained(source).saved
    assert sorted(saved) == sorted(expected)
    assert all(torch.equal(saved[name], expected[name]) for name in expected)


def test_every_default_that_peft_writes_is_accepted(adapters):
    raw = Adapter.from_pretrained(adapters("llama", 1)).config.raw
    assert {"use_dora", "megatron_core", "qalora_group_size"} <= raw.keys()


def test_a_copy_of_the_base_embedding_comes_with_the_adapter(adapters, bases):
    family, settings = CASES["llama-embedding-and-output"]
    point = Adapter.from_pretrained(adapters(family, 1, **settings))
    weights = load_base(family, bases(family), torch.float32).state_dict()
    assert sorted(point.base_copies) == ["lm_head.weight", "model.embed_tokens.weight"]
    assert all(torch.equal(copy, weights[name]) for name, copy in point.base_copies.items())
