"""Which full fine-tunes can be joined: those that are one function of their weights."""

import json

import pytest
from random_tasks import random_task
from tiny import make_base
from transformers import LlamaForCausalLM

import modeconn as mc
from modeconn.errors import AdapterError, EvaluationError


@pytest.fixture(scope="module")
def first(bases):
    return mc.Adapter.from_pretrained(bases("llama"), name="first")


def changed(folder, **settings):
    """A full fine-tune whose config.json says something else; None takes a key away."""
    make_base(folder, "llama", seed=5)
    config = json.loads((folder / "config.json").read_text()) | settings
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return mc.Adapter.from_pretrained(folder, name="second")


SETTINGS = {
    "norm": ({"rms_norm_eps": 1e-3}, r"rms_norm_eps 1e-06 and 0.001"),
    "positions": (
        {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}},
        r"rope_parameters.rope_theta 10000.0 and 500000.0",
    ),
    "activation": ({"hidden_act": "gelu"}, r"hidden_act 'silu' and 'gelu'"),
}


@pytest.mark.parametrize("key", SETTINGS)
def test_settings_that_decide_the_function_must_agree(key, first, tmp_path):
    settings, got = SETTINGS[key]
    told = (
        rf"first and second are different functions of their weights\n  expected: settings in config.json that.*\n"
        rf"  got: {got}\n  remedy: join fine-tunes of one base"
    )
    with pytest.raises(AdapterError, match=told):
        mc.LinearPath(first, changed(tmp_path / "second", **settings))


def test_other_settings_may_differ(first, tmp_path):
    other = {
        "_name_or_path": "elsewhere/llama",
        "attention_dropout": 0.3,
        "dtype": "bfloat16",
        "eos_token_id": 3,
        "id2label": {"0": "no", "1": "yes"},
        "initializer_range": 0.5,
        "transformers_version": "4.30.0",
        "use_cache": False,
    }
    assert mc.LinearPath(first, changed(tmp_path / "second", **other))(0.5).replaces


def test_a_setting_that_the_file_leaves_out_has_its_default(first, tmp_path):
    assert mc.LinearPath(first, changed(tmp_path / "second", mlp_bias=None, hidden_act=None))(0.5).replaces


def test_two_vocabularies_have_an_error_of_their_own(first, tmp_path):
    model = LlamaForCausalLM.from_pretrained(first.source)
    model.resize_token_embeddings(30, mean_resizing=False)
    model.save_pretrained(tmp_path / "second")
    second = mc.Adapter.from_pretrained(tmp_path / "second")
    told = (
        r"first and second have vocabularies of different sizes\n  expected: one vocabulary.*\n"
        r"  got: vocab_size 26 and 30\n  remedy: resize both .* with resize_token_embeddings"
    )
    with pytest.raises(AdapterError, match=told) as caught:
        mc.LinearPath(first, second)
    assert "heads=" not in str(caught.value)


def test_beside_an_adapter_nothing_is_compared(first, adapters):
    assert mc.LinearPath(first, mc.Adapter.from_pretrained(adapters("llama", 1)))(0.5).replaces


def test_the_gate_speaks_of_the_models_config(first, tmp_path):
    base = make_base(tmp_path / "base", "llama", rms_norm_eps=0.5)
    model = mc.AdapterModel.from_pretrained(base, adapters=[first])
    told = (
        r"'first' of the path is not the model that transformers loads\n  expected: losses equal to those of"
        r" transformers within 0.0001 .*\n  got: a difference of .*\n  remedy: .*give a base model whose config.json"
    )
    with pytest.raises(EvaluationError, match=told) as caught:
        mc.evaluate_path(mc.LinearPath(first, first), model, [random_task()], num_points=2)
    assert "adapter" not in str(caught.value)
