"""Trained tokens as a kind of their own: what a file may hold."""

import peft
import pytest
import torch
from kind_oracle import load, loaded_by_peft, make_kind
from kind_points import Base, fails, kind_point, random
from peft_oracle import logits
from tiny import make_base

import modeconn as mc
from modeconn.errors import AdapterError, PathError

ROWS = {"embed.trainable_tokens_delta": random(2, 3)}


def test_the_rows_take_the_place_of_the_bases():
    table = random(5, 3, seed=1)
    change = kind_point("TRAINABLE_TOKENS", ROWS, token_indices=[4, 1]).on(Base({"embed.weight": table}))
    expected = table.clone()
    expected[[4, 1]] = ROWS["embed.trainable_tokens_delta"]
    torch.testing.assert_close(table + change.updates["embed.weight"].dense(), expected)


def test_as_many_rows_as_tokens():
    told = "the trained tokens of embed in the adapter do not fit", "1 rows, as token_indices has", "a tensor [2, 3]"
    fails("TRAINABLE_TOKENS", ROWS, *told, token_indices=[4])


def test_tokens_are_whole_numbers():
    fails("TRAINABLE_TOKENS", ROWS, "settings that cannot be read", "token_indices=[1, -2]", token_indices=[1, -2])


def test_rows_of_other_tokens_are_no_common_coordinates():
    ends = [kind_point("TRAINABLE_TOKENS", ROWS, token_indices=tokens) for tokens in ([4, 1], [6, 1])]
    with pytest.raises(PathError, match="different scalings in token_indices"):
        mc.LinearPath(*ends, space="factors")


def test_rows_of_the_same_tokens_are_averaged():
    other = {name: -3 * rows for name, rows in ROWS.items()}
    ends = [kind_point("TRAINABLE_TOKENS", rows, token_indices=[4, 1]) for rows in (ROWS, other)]
    middle = mc.LinearPath(*ends, space="factors")(0.5)
    found = middle.on(Base({"embed.weight": torch.zeros(5, 3)})).updates["embed.weight"].dense()
    torch.testing.assert_close(found[[4, 1]], -ROWS["embed.trainable_tokens_delta"])


def test_another_tensor_is_left_over():
    told = "would not be used", "a trainable_tokens_delta of each embedding", "q.other"
    fails("TRAINABLE_TOKENS", ROWS | {"q.other": torch.ones(1)}, *told, token_indices=[4, 1])


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
def test_a_point_between_two_is_what_peft_loads(family, bases, kinds, tmp_path):
    """As trained tokens again: PEFT loads no LoRA adapter that has no factors. GPT-2's output layer is tied."""
    settings = {"token_indices": [4, 9], "target_modules": ["embed_tokens" if family == "llama" else "wte"]}
    folders = [kinds(family, peft.TrainableTokensConfig, seed, std=1.0, **settings) for seed in (1, 2)]
    point = mc.LinearPath(*map(mc.Adapter.from_pretrained, folders))(0.4)
    saved = point.save_pretrained(tmp_path / "middle")
    with load(family, bases(family), point, dtype="float32").at(point) as module:
        torch.testing.assert_close(logits(loaded_by_peft(family, bases(family), saved, torch.float32)), logits(module))


@pytest.mark.parametrize("named", [None, ["embed_tokens"], ["lm_head"]])
def test_rows_of_a_tied_base_are_those_of_peft(named, tmp_path):
    """Those of the output layer move nothing else."""
    base = make_base(tmp_path / "base", "llama", tie_word_embeddings=True)
    options = {"token_indices": [5, 9], **({"target_modules": named} if named else {})}
    folder = make_kind(tmp_path / "a", base, "llama", peft.TrainableTokensConfig, seed=1, std=1.0, **options)
    point = mc.Adapter.from_pretrained(folder)
    with load("llama", base, point).at(point) as module:
        torch.testing.assert_close(logits(module), logits(loaded_by_peft("llama", base, folder)), rtol=0, atol=1e-9)


def test_a_tied_layer_that_is_named_beside_its_embedding(tmp_path):
    """PEFT writes the adapter, loads it again, and fails when it runs it."""
    base = make_base(tmp_path / "base", "llama", tie_word_embeddings=True)
    options = {"token_indices": [5, 9], "target_modules": ["embed_tokens", "lm_head"]}
    folder = make_kind(tmp_path / "a", base, "llama", peft.TrainableTokensConfig, seed=1, std=1.0, **options)
    with pytest.raises(ValueError, match="wraps an unknown layer type"):
        logits(loaded_by_peft("llama", base, folder))
    told = r"(?s)trains the rows of a tied layer twice\n.*got: two sets of rows of lm_head\n.*remedy: train again"
    with pytest.raises(AdapterError, match=told):
        mc.Adapter.from_pretrained(folder)
