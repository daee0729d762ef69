"""A combination is saved as an adapter that plain PEFT reads as base + sum_k c_k dW_k, merged here by hand."""

import pytest
import torch
from peft_oracle import heads, load_peft, logits, merged_logits, updates

from modeconn.adapters import Adapter, combine

pytestmark = pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")

# family, settings of the first and of the second adapter
PAIRS = {
    "same-shape": ("llama", {}, {}),
    "ranks": ("llama", {"r": 2}, {"r": 7, "lora_alpha": 3}),
    "targets": ("llama", {"target_modules": ["q_proj", "v_proj"]}, {"target_modules": ["v_proj", "o_proj"]}),
    "disjoint-targets": ("llama", {"target_modules": ["q_proj"]}, {"target_modules": ["o_proj"], "r": 2}),
    "embedding-at-one-end": ("llama", {"target_modules": ["q_proj"]}, {"target_modules": ["q_proj", "embed_tokens"]}),
    "output-at-one-end": ("llama", {"target_modules": ["lm_head"]}, {"target_modules": ["q_proj"]}),
    "scaling-rules": (
        "llama",
        {"use_rslora": True, "r": 3},
        {"alpha_pattern": {"q_proj": 2}, "rank_pattern": {"v_proj": 3}},
    ),
    "saved-output": ("llama", {"modules_to_save": ["lm_head"]}, {"modules_to_save": ["lm_head"], "r": 2}),
    "conv1d": ("gpt2", {"r": 3}, {"target_modules": ["c_attn", "c_fc"]}),
    "head": ("bert", {"r": 3}, {}),
    "embeddings": ("bert", {"target_modules": ["word_embeddings"]}, {"target_modules": ["word_embeddings"], "r": 2}),
    "encoder-decoder": ("t5", {}, {"target_modules": ["k", "wi"], "r": 2}),
}


def merged_by_hand(family, base, folders, coefficients):
    """Logits of the base with the combination of PEFT's own dense updates and heads."""
    models = [load_peft(family, base, folder) for folder in folders]

    def total(read):
        found = [read(model) for model in models]
        names = {name for one in found for name in one}
        return {
            name: sum(c * one[name] for c, one in zip(coefficients, found, strict=True) if name in one)
            for name in names
        }

    return merged_logits(family, base, total(updates), total(heads))


def check(pair, coefficients, bases, adapters, folder):
    """Saved and loaded by PEFT, the combination gives the logits of the base merged by hand."""
    family, first, second = PAIRS[pair]
    folders = [adapters(family, 1, **first), adapters(family, 2, **second)]
    point = combine(coefficients, [Adapter.from_pretrained(source) for source in folders])
    found = logits(load_peft(family, bases(family), point.save_pretrained(folder)))
    expected = merged_by_hand(family, bases(family), folders, coefficients)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pair", PAIRS)
def test_plain_peft_loads_an_inner_point(pair, bases, adapters, tmp_path):
    check(pair, [0.7, 0.3], bases, adapters, tmp_path / "point")


@pytest.mark.parametrize("pair", ["head", "conv1d"])
def test_plain_peft_loads_a_point_beyond_the_ends(pair, bases, adapters, tmp_path):
    check(pair, [1.5, -0.5], bases, adapters, tmp_path / "point")


@pytest.mark.parametrize("pair", ["targets", "disjoint-targets", "embedding-at-one-end"])
def test_a_sum_keeps_the_scaling_of_a_module_that_one_point_has(pair, bases, adapters, tmp_path):
    check(pair, [1.0, 1.0], bases, adapters, tmp_path / "sum")


def test_a_saved_combination_reads_back_as_the_same_point(adapters, tmp_path):
    a, b = (Adapter.from_pretrained(adapters("bert", seed, r=seed)) for seed in (2, 3))
    point = 0.25 * a + 0.75 * b
    again = Adapter.from_pretrained(point.save_pretrained(tmp_path / "point"))
    assert again.fingerprint == point.fingerprint


def test_a_combination_of_a_read_back_combination_is_right(bases, adapters, tmp_path):
    folders = [adapters("llama", 1), adapters("llama", 2, r=2)]
    a, b = (Adapter.from_pretrained(folder) for folder in folders)
    half = Adapter.from_pretrained((0.5 * a + 0.5 * b).save_pretrained(tmp_path / "half"))
    saved = (0.5 * half + 0.5 * b).save_pretrained(tmp_path / "quarter")
    expected = merged_by_hand("llama", bases("llama"), folders, (0.25, 0.75))
    torch.testing.assert_close(logits(load_peft("llama", bases("llama"), saved)), expected, rtol=1e-5, atol=1e-5)
