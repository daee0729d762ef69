import collections
import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

LIMIT = 12 * 1000 * 1000  # bytes
NAMES = ["arithmetic", "law", "medicine", "science", "simplification", "stance", "summary", "tone"]


@pytest.fixture(scope="module")
def tokenizer(data_folder):
    return AutoTokenizer.from_pretrained(data_folder / "base")


@pytest.fixture(scope="module")
def model(data_folder):
    return AutoModelForCausalLM.from_pretrained(data_folder / "base", dtype=torch.float32).eval()


def loss_per_token(model, tokenizer, texts):
    """Nats per token without the first, one text at a time, by hand from the logits."""
    total, count = 0.0, 0
    for text in texts:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            log_probabilities = model(input_ids=ids).logits[0].double().log_softmax(-1)
        total -= sum(log_probabilities[i, token].item() for i, token in enumerate(ids[0, 1:]))
        count += ids.shape[1] - 1
    return total / count


def unigram_loss_per_token(tokenizer, train, texts):
    """The same under counts of the train texts plus one."""
    counts = collections.Counter(token for text in train for token in tokenizer(text)["input_ids"])
    mass = sum(counts.values()) + len(tokenizer)
    tokens = [token for text in texts for token in tokenizer(text)["input_ids"][1:]]
    return -sum(math.log((counts[token] + 1) / mass) for token in tokens) / len(tokens)


def test_the_folder_is_small(data_folder):
    assert sum(path.stat().st_size for path in (data_folder / "base").iterdir()) <= LIMIT


def test_the_weights_are_bfloat16_and_three_to_six_million(data_folder):
    with safe_open(data_folder / "base" / "model.safetensors", "pt") as file:
        tensors = [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118, not a dict
    assert {tensor.dtype for tensor in tensors} == {torch.bfloat16}
    assert 3e6 < sum(tensor.numel() for tensor in tensors) < 6e6


def test_the_model_has_the_shape_of_its_card(model):
    config = model.config
    assert (config.num_hidden_layers, config.hidden_size, config.vocab_size) == (4, 256, 4096)
    assert config.tie_word_embeddings
    assert config.max_position_embeddings == 1024


def test_every_digit_is_a_token(tokenizer):
    assert tokenizer.tokenize("1,024 and 99") == ["1", ",", "0", "2", "4", "Ġand", "Ġ", "9", "9"]


def test_a_text_begins_with_the_first_token_once(tokenizer):
    ids = tokenizer("The council met.")["input_ids"]
    assert [i for i, token in enumerate(ids) if token == tokenizer.bos_token_id] == [0]


def test_special_tokens_have_the_same_numbers_in_model_and_tokenizer(model, tokenizer):
    numbers = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert numbers == (model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id)
    assert len({*numbers, tokenizer.unk_token_id}) == 4


@given(text=st.text(max_size=60))
def test_any_text_comes_back(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not any(token in text for token in tokenizer.all_special_tokens):
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_no_token_is_unknown(tokenizer):
    assert tokenizer.unk_token_id not in tokenizer("Ünïcödé \u4e2d\u6587 \U0001f600 \x00\t")["input_ids"]


@pytest.mark.parametrize("name", NAMES)
def test_the_base_knows_generated_text_far_better_than_a_unigram_model(model, tokenizer, splits, name):
    train = [record["prompt"] + record["answer"] for record in splits[name, "train"]]
    texts = [record["prompt"] + record["answer"] for record in splits[name, "eval"][:8]]
    own = loss_per_token(model, tokenizer, texts)
    # The unigram model is fitted on this very task, the base never saw its questions.
    assert math.exp(own) < math.exp(unigram_loss_per_token(tokenizer, train, texts)) / 3


def test_the_measured_perplexities_beat_the_unigram_model_on_every_source(data_folder):
    metrics = json.loads((data_folder / "base" / "metrics.json").read_text(encoding="utf-8"))
    assert len(metrics) == 17
    assert not [name for name, row in metrics.items() if row["model"] > row["unigram"] / 3]


def test_the_measured_perplexity_is_what_the_model_gives(data_folder, model, tokenizer, splits):
    metrics = json.loads((data_folder / "base" / "metrics.json").read_text(encoding="utf-8"))
    texts = [record["prompt"] + record["answer"] for record in splits["arithmetic", "eval"]]
    own = loss_per_token(model, tokenizer, texts)
    assert math.exp(own) == pytest.approx(metrics["generated arithmetic"]["model"], rel=0.01)


def test_the_card_gives_the_measured_numbers(data_folder):
    metrics = json.loads((data_folder / "base" / "metrics.json").read_text(encoding="utf-8"))
    card = (data_folder / "base" / "README.md").read_text(encoding="utf-8")
    for name, row in metrics.items():
        assert f"| {name} | {row['tokens']:,} | {row['model']:.1f} | {row['unigram']:.0f} |" in card
